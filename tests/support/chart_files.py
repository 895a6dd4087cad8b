"""The parts of the chart that the program's code decides, written anew from it.

``python -m tests.support.chart_files`` writes them; a test fails where they differ:

* ``files/program.yaml``: what the chart's checks have to know of the program;
* ``files/statsd-mapping.yaml``: the metrics' names at the exporter;
* in ``values.schema.json``, the options of ``config``, and which values there must be.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.reserved_groups import RESERVED_GROUPS, RESERVED_PREFIXES
from consumer_fleet.bootstrap.sources import MAPPING_FIELDS
from consumer_fleet.consumers.registry import CONSUMERS
from consumer_fleet.doctor.machine_checks import needed_memory_mib
from consumer_fleet.kafka import clients as configuration
from consumer_fleet.metrics.definitions import DEFINITIONS, Metric

CHART: Final = Path(__file__).resolve().parents[2] / "deploy/helm/consumer-fleet"
_NOTE: Final = "# Written by `python -m tests.support.chart_files`; not to be edited.\n"

# Options that the chart sets itself, and what to do instead of giving them in `config`.
_CHARTS_OWN: Final = {
    "topic": "use topic, beside config",
    "physical_topic": "use physicalTopic, beside config",
    "group": "use group, beside config",
    "workers": "use workers, beside config: memory is worked out from it",
    "shutdown_timeout": "use shutdownTimeoutSeconds, beside config: it is checked there",
    "bootstrap_servers": "use kafka.bootstrapServers",
    "kafka_config": "use kafka.rdkafka",
    "upstream_dsn": "it would be in a ConfigMap: use upstream.existingSecret",
    "saas_dsn": "it would be in a ConfigMap: use saas.existingSecret",
    "ca_file": "use destinationCa",
    "healthcheck_file": "the chart sets it, and its probes look there: take it out",
    "stop_at_end": "a pod that ends is started again: take it out, or run it as a Job of your own",
    "statsd_host": "use statsd.target and statsd.host",
    "statsd_port": "use statsd.port",
    "statsd_socket_path": "use statsd.target and statsd.socket",
}
# What the chart's checks and sizes need where `config` does not say.
_NEEDED_DEFAULTS: Final = (
    "best_effort_budget_mb",
    "max_in_flight_mb",
    "connect_timeout_s",
    "request_timeout_s",
    "metrics_prefix",
)


class _InputSchema(GenerateJsonSchema):
    """Fields that only this program's own classes can hold are options of the chart's own."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        return {}


def option_schemas() -> dict[str, JsonSchemaValue]:
    """What each option may hold in `config`. Those of the chart's own may hold anything here: the
    chart refuses them with a message that says what to use.
    """
    fields = Options.model_json_schema(schema_generator=_InputSchema)["properties"]
    schemas: dict[str, JsonSchemaValue] = {}
    for name, field in fields.items():
        if name in _CHARTS_OWN:
            schemas[name] = {"description": f"Not here: {_CHARTS_OWN[name]}."}
        elif name in MAPPING_FIELDS:
            values = {"type": ["string", "number", "boolean"]}
            schemas[name] = {"type": "object", "additionalProperties": values}
        else:
            # No option is ever null in values.yaml: Helm takes null as "not given".
            (kind,) = [each for each in field.get("anyOf", [field]) if each.get("type") != "null"]
            schemas[name] = {
                key: value
                for key, value in kind.items()
                if key not in ("default", "title", "description")
            }
        if name not in _CHARTS_OWN:
            schemas[name]["description"] = field["description"]
    return schemas


def schema(text: str) -> str:
    """The whole of ``values.schema.json``, with the options of now."""
    whole = json.loads(text)
    definitions = whole["definitions"]
    definitions["config"]["properties"] = option_schemas()
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    definitions["complete"] = _complete(whole, values, definitions)
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _complete(
    node: JsonSchemaValue, values: dict[str, Any], definitions: JsonSchemaValue
) -> JsonSchemaValue:
    """The keys that a closed object of ``values.yaml`` must have: those with a default.

    Helm drops a key that is set to null together with its default: the templates would not find it.
    Only an entry of `consumers` may be null by its type (the chart's message says what to write
    instead), not the defaults of all.
    """
    required, inside = [], {}
    for name, default in values.items():
        child = node.get("properties", {}).get(name, {})
        reference = child.get("$ref", "").rpartition("/")[2]
        child = definitions.get(reference, child)
        if default is None or (reference != "consumer" and "null" in child.get("type", ())):
            continue
        required.append(name)
        if default and "properties" in child and reference != "resources":
            inside[name] = _complete(child, default, definitions)
    return {"required": required, **({"properties": inside} if inside else {})}


def program() -> str:
    """``files/program.yaml``."""
    per_worker = _memory_mib(2) - _memory_mib(1)
    facts = {
        "consumers": [definition.name for definition in CONSUMERS],
        "groupPrefix": CONSUMERS[0].default_group.removesuffix(CONSUMERS[0].name),
        "reservedGroups": list(RESERVED_GROUPS),
        "reservedGroupPrefixes": list(RESERVED_PREFIXES),
        "defaults": {name: Options.model_fields[name].default for name in _NEEDED_DEFAULTS},
        "memoryMi": {
            "parent": _memory_mib(1) - per_worker - 2 * Options(workers=1).max_in_flight_mb,
            "worker": per_worker,
        },
        "ownedOptions": _CHARTS_OWN,
        "ownedProperties": {
            name: instead.replace("--auto-offset-reset", "config.auto_offset_reset").replace(
                "--group", "group"
            )
            for name, instead in configuration.OWNED_SETTINGS.items()
        },
    }
    return _NOTE + yaml.safe_dump(facts, sort_keys=False, width=100)


def _memory_mib(workers: int) -> int:
    return needed_memory_mib(Options(workers=workers))


def prometheus_name(metric: Metric) -> str:
    """What the exporter calls a metric of the program."""
    prefix = str(Options.model_fields["metrics_prefix"].default)
    name = f"{prefix}{metric.name}".replace(".", "_")
    return f"{name}_total" if metric.kind == "counter" else name


def statsd_mapping() -> str:
    """``files/statsd-mapping.yaml``: the exporter's own format."""
    prefix = Options.model_fields["metrics_prefix"].default
    mappings = []
    for metric in DEFINITIONS:
        mapping: dict[str, object] = {
            "match": f"{prefix}{metric.name}",
            "name": prometheus_name(metric),
            "help": metric.meaning,
        }
        if metric.kind == "gauge":
            # Sent once a second. A partition that has moved away is no longer sent: forget it.
            mapping["ttl"] = "60s"
        mappings.append(mapping)
    whole = {"defaults": {"observer_type": "histogram"}, "mappings": mappings}
    return _NOTE + yaml.safe_dump(whole, sort_keys=False, width=100)


def expected() -> dict[Path, str]:
    """Each written file, and what it should hold."""
    schema_path = CHART / "values.schema.json"
    return {
        schema_path: schema(schema_path.read_text()),
        CHART / "files/program.yaml": program(),
        CHART / "files/statsd-mapping.yaml": statsd_mapping(),
    }


if __name__ == "__main__":
    for path, text in expected().items():
        path.write_text(text)
