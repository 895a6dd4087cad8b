"""The chart against the program: what it writes is understood there, and what it names is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer_fleet.bootstrap.option_checks import delivery_mode, only_topic
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.doctor.machine_checks import needed_memory_mib
from consumer_fleet.kafka.clients import client_config, consumer_config
from consumer_fleet.metrics.definitions import DEFINITIONS
from tests.support.chart import EXAMPLES, NAMESPACE, RELEASE, render
from tests.support.chart_files import CHART, prometheus_name

_WORKLOADS = ("Deployment", "StatefulSet")
_MINIMAL: dict[str, Any] = yaml.safe_load((CHART / "examples/minimal.yaml").read_text())


def _consumers(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        each
        for each in objects
        if each["kind"] in _WORKLOADS and not each["metadata"]["name"].endswith("-inspector")
    ]


def _container(workload: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = workload["spec"]["template"]["spec"]["containers"][0]
    return container


_DSN = "https://key@sentry.example.com/1"
_PROJECTS = json.dumps({"42": {"upstream": _DSN}})


def _options(objects: list[dict[str, Any]], workload: dict[str, Any], folder: Path) -> Options:
    """The options as the pod's program resolves them. Every Secret holds a DSN here, or projects
    with one.
    """
    name = workload["metadata"]["name"]
    (config,) = [
        each["data"]["config.yml"]
        for each in objects
        if each["kind"] == "ConfigMap" and each["metadata"]["name"] == name
    ]
    file = folder / f"{name}.yml"
    file.write_text(config)
    environ = {
        each["name"]: each.get("value", _PROJECTS if each["name"] == "CONSUMER_PROJECTS" else _DSN)
        for each in _container(workload)["env"]
        if each["name"] != "CONSUMER_CONF"
    }
    return resolve_options(OptionsRequest(config=file), environ).options


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_program_takes_every_configuration_of_an_example(example: Path, tmp_path: Path) -> None:
    objects = render(example)
    workloads = _consumers(objects)
    assert workloads
    for workload in workloads:
        options = _options(objects, workload, tmp_path)
        assert delivery_mode(options) == "real"
        assert options.healthcheck_file == Path("/tmp/consumer-health")
        assert options.group is not None
        consumer_config(client_config(options.brokers, options.kafka_config), options.group)


def test_a_consumer_of_another_distribution_is_installed_like_any_other(tmp_path: Path) -> None:
    values = {**_MINIMAL, "additionalConsumers": ["orders"], "consumers": {"orders": {}}}
    objects = render(values)
    (workload,) = _consumers(objects)
    options = _options(objects, workload, tmp_path)
    assert (only_topic(options), options.group) == ("orders", "consumer-fleet-orders")


def test_a_group_of_topics_is_one_process_and_scales_by_the_lag_of_each(tmp_path: Path) -> None:
    topics = ["ingest-events", "ingest-attachments"]
    group = {
        "topics": topics,
        "config": {"snuba_topic_map": {"ingest-events": "our-events"}},
        "autoscaling": {"maxReplicas": 4, "keda": {"enabled": True}},
    }
    objects = render({**_MINIMAL, "consumers": {"relay": group}})
    (workload,) = _consumers(objects)
    options = _options(objects, workload, tmp_path)
    assert (options.topic, options.group, options.physical_topic) == (tuple(topics), None, None)
    (scaled,) = (each for each in objects if each["kind"] == "ScaledObject")
    assert [
        (trigger["metadata"]["consumerGroup"], trigger["metadata"]["topic"])
        for trigger in scaled["spec"]["triggers"]
    ] == [
        ("consumer-fleet-ingest-events", "our-events"),
        ("consumer-fleet-ingest-attachments", "ingest-attachments"),
    ]


def test_the_program_takes_every_option_that_the_schema_takes(tmp_path: Path) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    config = {
        name: _sample(name, option)
        for name, option in schema["definitions"]["config"]["properties"].items()
        if set(option) != {"description"} and name != "no_dlq"
    }
    secret = {"secretKeyRef": {"name": "projects", "key": "json"}}
    # unmapped_projects needs some.
    events = {"config": config, "extraEnv": [{"name": "CONSUMER_PROJECTS", "valueFrom": secret}]}
    objects = render({**_MINIMAL, "consumers": {"events": events}})
    (workload,) = _consumers(objects)
    options = _options(objects, workload, tmp_path)
    for name, value in config.items():
        resolved = getattr(options, name)
        resolved = list(resolved) if isinstance(resolved, tuple) else resolved
        resolved = str(resolved) if isinstance(resolved, Path) else resolved
        expected = {**value, "consumer": "events"} if name == "metrics_tags" else value
        assert resolved == expected


def _sample(name: str, schema: dict[str, Any]) -> Any:
    """A value that the schema takes, and that is not the default where there is another."""
    if "enum" in schema:
        return schema["enum"][-1]
    if name == "snuba_url":
        return "http://snuba:1218"
    if name == "serve":
        return "0.0.0.0:8791"
    if name.endswith("_drop_items"):
        return ["transaction", "log"]
    samples: dict[str, Any] = {
        "boolean": True,
        "integer": 7,
        "number": 0.5,
        "string": "text",
        "array": ["one", "two"],
        "object": {"key": "value"},
    }
    return samples[schema["type"]]


_LOGIN = {"username": "fleet", "existingSecret": {"name": "login"}}
_TOKENS = {"tokenEndpointUrl": "https://login.example.com/token", "scope": "kafka"}


@pytest.mark.parametrize(
    ("values", "properties"),
    [
        ({"membership": "dynamic"}, {"partition.assignment.strategy": "cooperative-sticky"}),
        ({"membership": "static"}, {"session.timeout.ms": "60000"}),
        ({"membership": "kip848"}, {"group.protocol": "consumer"}),
        (
            {
                "kafka": {
                    "securityProtocol": "SASL_SSL",
                    "sasl": {"mechanism": "SCRAM-SHA-512", **_LOGIN},
                }
            },
            {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "fleet"},
        ),
        (
            {
                "kafka": {
                    "securityProtocol": "SASL_PLAINTEXT",
                    "sasl": {"mechanism": "OAUTHBEARER", "oauthbearer": _TOKENS, **_LOGIN},
                }
            },
            {"sasl.oauthbearer.method": "oidc", "sasl.oauthbearer.client.id": "fleet"},
        ),
    ],
    ids=["dynamic", "static", "kip848", "scram", "oauthbearer"],
)
def test_librdkafka_takes_the_properties_that_the_chart_makes(
    values: dict[str, Any], properties: dict[str, str], tmp_path: Path
) -> None:
    from confluent_kafka import Consumer  # noqa: PLC0415 - slow to import, and only for this

    objects = render({**_MINIMAL, "consumers": {"events": values}})
    (workload,) = _consumers(objects)
    given = _options(objects, workload, tmp_path).kafka_config
    assert given.items() >= properties.items()
    # The pod's name is known in the cluster alone; the DSN stands for it here.
    assert ("group.instance.id" in given) == (values.get("membership") == "static")
    Consumer(consumer_config(client_config("localhost:1", given), "group")).close()


def test_chart_image_and_compose_file_are_of_the_programs_version() -> None:
    root = CHART.parents[2]
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == version
    image = re.findall(r"\nARG VERSION=(.*)", (root / "deploy/Containerfile").read_text())
    composed = re.findall(r"image: consumer-fleet:(.*)", (root / "deploy/compose.yaml").read_text())
    assert image == composed == [version]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_from_which_registry_its_image_comes(example: Path) -> None:
    for workload in _consumers(render(example)):
        # Without one, Kubernetes looks for it at Docker's own.
        assert "." in _container(workload)["image"].partition("/")[0]


def test_a_change_of_options_replaces_the_pods_of_that_consumer_alone() -> None:
    def checksums(config: dict[str, Any]) -> dict[str, str]:
        values = {**_MINIMAL, "consumers": {"events": {"config": config}, "envelopes": {}}}
        return {
            each["metadata"]["name"]: each["spec"]["template"]["metadata"]["annotations"][
                "checksum/config"
            ]
            for each in _consumers(render(values))
        }

    before, after = checksums({}), checksums({"connections": 8})
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {f"{RELEASE}-consumer-fleet-events"}
    assert checksums({}) == before


@pytest.mark.parametrize("workers", [1, 4, 16])
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"max_in_flight_mb": 512},
        {"upstream_delivery": "best-effort", "best_effort_budget_mb": 100},
    ],
)
def test_a_pod_has_more_memory_than_its_options_need(
    workers: int, config: dict[str, Any], tmp_path: Path
) -> None:
    values = {**_MINIMAL, "consumers": {"events": {"workers": workers, "config": config}}}
    objects = render(values)
    (workload,) = _consumers(objects)
    limit = _container(workload)["resources"]["limits"]["memory"]
    needed = needed_memory_mib(_options(objects, workload, tmp_path))
    assert needed * 1.2 < int(limit.removesuffix("Mi")) < needed * 1.5


def test_rules_and_dashboard_name_metrics_that_exist() -> None:
    declared = {prometheus_name(metric) for metric in DEFINITIONS}
    objects = render(CHART / "examples/production.yaml")
    rules = next(each for each in objects if each["kind"] == "PrometheusRule")
    dashboard = next(each for each in objects if each["metadata"]["name"].endswith("-dashboard"))
    for text in (json.dumps(rules["spec"]), dashboard["data"]["consumer-fleet.json"]):
        named = set(re.findall(r"consumer_fleet_\w+", text))
        assert named
        assert named <= declared


def test_alerts_point_to_log_events_that_are_documented() -> None:
    operations = (CHART.parents[2] / "docs/operations.md").read_text()
    rules = next(
        each
        for each in render(CHART / "examples/production.yaml")
        if each["kind"] == "PrometheusRule"
    )
    named = {
        event
        for rule in rules["spec"]["groups"][0]["rules"]
        for event in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", rule["annotations"]["description"])
    }
    assert named
    assert {event for event in named if f"`{event}`" not in operations} == set()


def test_the_commands_that_the_chart_runs_exist() -> None:
    values = {
        **yaml.safe_load((CHART / "examples/self-hosted-sentry.yaml").read_text()),
        "defaults": {"partitions": 2},
    }
    objects = render(values)
    inspector = next(
        each
        for each in objects
        if each["kind"] == "Deployment" and each["metadata"]["name"].endswith("-inspector")
    )
    command, *arguments = _container(inspector)["args"]
    options = {argument.partition("=")[0] for argument in arguments}
    assert command == "inspect"
    assert options <= set(re.findall(r"--[a-z-]+", _help("inspect")))
    test_pod = next(each for each in objects if each["kind"] == "Pod")
    script = test_pod["spec"]["containers"][0]["command"][2]
    commands = re.findall(r"consumer ([a-z]+) (--.*?)(?:[|)\n]|$)", script)
    assert [name for name, _ in commands] == ["doctor", "status"]
    for name, given in commands:
        assert set(re.findall(r"--[a-z-]+", given)) <= set(re.findall(r"--[a-z-]+", _help(name)))


def _help(command: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "consumer_fleet", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
@pytest.mark.parametrize(("age_s", "passes"), [(0, True), (50, True), (62, False), (None, False)])
def test_a_probe_passes_while_the_heartbeat_is_fresh(
    probe: str, age_s: int | None, passes: bool, tmp_path: Path
) -> None:
    (workload,) = _consumers(render(_MINIMAL))
    shell, flag, script = _container(workload)[probe]["exec"]["command"]
    heartbeat = tmp_path / "heartbeat"
    if age_s is not None:
        heartbeat.touch()
        os.utime(heartbeat, (heartbeat.stat().st_mtime - age_s,) * 2)
    run = subprocess.run(
        [shell, flag, script.replace("/tmp/consumer-health", str(heartbeat))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode == 0) == passes
    # What `kubectl describe pod` shows.
    assert ("ago" in run.stdout or "No such file" in run.stderr) == (not passes)


def test_no_pod_gets_a_token_or_may_write_to_its_root() -> None:
    for example in EXAMPLES:
        for each in render(example):
            pod = each["spec"] if each["kind"] == "Pod" else None
            if each["kind"] in _WORKLOADS:
                pod = each["spec"]["template"]["spec"]
            if pod is None:
                continue
            assert each["metadata"]["namespace"] == NAMESPACE
            assert pod["automountServiceAccountToken"] is False
            for container in pod["containers"] + pod.get("initContainers", []):
                assert container["securityContext"]["readOnlyRootFilesystem"] is True
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
