"""Kubernetes' own schemas as kubeconform reads them: one complete file per kind.

They come from the package kubernetes-validate, whose files refer to one large file of definitions;
here each file gets the definitions that it needs. Custom resources get theirs from their CRDs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.custom_resources import custom_resource_definitions
from tests.support.requirements import MissingPart

# The oldest that the chart supports, one between, and the one that the cluster tests run.
VERSIONS: Final = ("1.29.0", "1.33.0", "1.36.0")
# kubeconform's template for the file names.
LOCATION: Final = "{{.NormalizedKubernetesVersion}}/{{.ResourceKind}}{{.KindSuffix}}.json"
_KINDS: Final = (
    "configmap-v1",
    "deployment-apps-v1",
    "horizontalpodautoscaler-autoscaling-v2",
    "networkpolicy-networking-v1",
    "pod-v1",
    "poddisruptionbudget-policy-v1",
    "secret-v1",
    "service-v1",
    "serviceaccount-v1",
    "statefulset-apps-v1",
)
_DEFINITIONS: Final = "/api/_definitions.json"


def write_schemas(folder: Path) -> None:
    """Write the schemas of all ``VERSIONS`` into ``folder``. Raises MissingPart."""
    custom = dict(_custom_schemas())
    for version in VERSIONS:
        target = folder / f"v{version}"
        target.mkdir()
        source = _source() / f"v{version}-local-strict"
        definitions = json.loads((source / "_definitions.json").read_text())["$defs"]
        for kind in _KINDS:
            schema = json.loads((source / f"{kind}.json").read_text())
            (target / f"{kind}.json").write_text(json.dumps(_bundled(schema, definitions)))
        for kind, schema in custom.items():
            (target / f"{kind}.json").write_text(json.dumps(schema))


def _source() -> Path:
    spec = find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise MissingPart("the package kubernetes-validate is not installed: make setup")
    return Path(spec.origin).parent / "kubernetes-json-schema"


def _bundled(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with every definition that it refers to, and only internal references."""
    needed: dict[str, Any] = {}
    waiting = list(_references(schema))
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = definitions[name]
            waiting += _references(definitions[name])
    whole = {key: value for key, value in schema.items() if key not in ("$id", "$schema")}
    text = json.dumps({**whole, "$defs": needed})
    bundled: dict[str, Any] = json.loads(text.replace(f'"{_DEFINITIONS}#', '"#'))
    return bundled


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield reference.rpartition("/")[2]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def _custom_schemas() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in custom_resource_definitions():
        definition = yaml.safe_load(path.read_text())["spec"]
        group = definition["group"].partition(".")[0]
        kind = definition["names"]["kind"].lower()
        for version in definition["versions"]:
            schema = _strict(version["schema"]["openAPIV3Schema"])
            schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
            yield f"{kind}-{group}-{version['name']}", schema


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Turn OpenAPI into JSON Schema that refuses unknown fields: the API server drops them."""
    made = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-")}
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("anyOf", None)
        made["type"] = ["integer", "string"]
    if "properties" in schema:
        made["properties"] = {
            name: value if name == "metadata" else _strict(value)
            for name, value in schema["properties"].items()
        }
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            made[key] = _strict(schema[key])
    return made
