"""Where the definitions of KEDA's and prometheus-operator's resources are: in Go's module cache."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.support.requirements import MissingPart

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
    """Files to `kubectl apply --server-side`; fetched once, by Go. Raises MissingPart."""
    go = shutil.which("go")
    if go is None:
        raise MissingPart("no go on the PATH: it fetches the custom resources' definitions")
    return [_fetch(go, module) / file for module, files in _DEFINITIONS.items() for file in files]


def _fetch(go: str, module: str) -> Path:
    run = subprocess.run(
        [go, "mod", "download", "-json", module],
        cwd="/",  # no module of this project's has a say
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise MissingPart(f"go could not fetch {module}: {run.stderr or run.stdout}")
    return Path(json.loads(run.stdout)["Dir"])
