"""The custom resource definitions of KEDA and prometheus-operator, from Go's module cache."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.support.go_modules import module_folder

_DEFINITIONS: Final = {
    "github.com/kedacore/keda/v2@v2.21.0": (
        "config/crd/bases/keda.sh_scaledobjects.yaml",
        "config/crd/bases/keda.sh_triggerauthentications.yaml",
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
}


def custom_resource_definitions() -> list[Path]:
    """Return files for `kubectl apply --server-side`; Go fetches them once. Raises MissingPart."""
    return [
        module_folder(module) / file for module, files in _DEFINITIONS.items() for file in files
    ]
