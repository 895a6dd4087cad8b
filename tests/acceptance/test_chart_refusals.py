"""Invalid values are refused before anything is installed, with a message that names their key."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.chart import refusal, try_render
from tests.support.chart_files import CHART

_MINIMAL: dict[str, Any] = yaml.safe_load((CHART / "examples/minimal.yaml").read_text())
_SCRAM = {
    "securityProtocol": "SASL_SSL",
    "sasl": {
        "mechanism": "SCRAM-SHA-512",
        "username": "fleet",
        "existingSecret": {"name": "login"},
    },
}
_KEDA = {"autoscaling": {"maxReplicas": 4, "keda": {"enabled": True}}}


def _merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy(base)
    for key, value in more.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if nested else value
    return result


def _events(**values: Any) -> dict[str, Any]:
    return {"consumers": {"events": values}}


_REFUSED: list[dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("chart_refusals.yaml").read_text()
)


@pytest.mark.parametrize("case", _REFUSED, ids=lambda case: str(case["wrong"]))
def test_wrong_values_are_refused_by_their_key(case: dict[str, Any]) -> None:
    message = refusal(_merged(_MINIMAL, case["values"]))
    assert case["key"] in message
    assert case["says"] in message
    # Messages end up in logs.
    assert "hunter2" not in message


def test_a_budget_on_the_command_line_is_a_number_too() -> None:
    budget = "consumers.events.podDisruptionBudget"
    message = refusal(
        _merged(_MINIMAL, _events(replicas=3)),
        f"--set={budget}.minAvailable=3,{budget}.maxUnavailable=null",
    )
    assert f"{budget}.minAvailable: 3 of 3 pods" in message


def _paths(values: dict[str, Any], place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of values.yaml with a default that Helm would take away with a null."""
    for key, value in values.items():
        if value is not None:
            yield (*place, key)
        if isinstance(value, dict):
            yield from _paths(value, (*place, key))


_DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
# Maps that are handed on as they are: a null takes one of their keys away, as it should.
_FREE = re.compile(r"(resources|[sS]ecurityContext|behavior|grafanaDashboard\.labels)\.")
_BUDGET = "defaults.podDisruptionBudget.maxUnavailable"


def _nulls(paths: Iterable[str]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Yield paths of the same length, none of which hides another, and values that null them."""
    for _, group in itertools.groupby(sorted(paths, key=_depth), key=_depth):
        same = list(group)
        values: dict[str, Any] = {}
        for path in same:
            *parents, key = path.split(".")
            nulled: dict[str, Any] = {key: None}
            for parent in reversed(parents):
                nulled = {parent: nulled}
            values = _merged(values, nulled)
        yield same, values


def _depth(path: str) -> int:
    return path.count(".")


_NULLABLE = {".".join(path) for path in _paths(_DEFAULTS)} - {_BUDGET}


def test_a_null_of_a_value_that_templates_need_is_refused_by_its_key() -> None:
    needed = {path for path in _NULLABLE if not _FREE.search(path)}
    missed = set()
    for _, values in _nulls(needed):
        message = refusal(_merged(_MINIMAL, values))
        for parents, names in re.findall(r"at '(.*?)': missing propert(?:y|ies) (.*)", message):
            place = parents.strip("/").replace("/", ".")
            missed |= {f"{place}.{name}".lstrip(".") for name in re.findall(r"'(.*?)'", names)}
    assert missed == needed


def test_a_null_takes_a_key_of_a_free_map_away() -> None:
    for paths, values in _nulls(path for path in _NULLABLE if _FREE.search(path)):
        run = try_render(_merged(_MINIMAL, values))
        assert run.returncode == 0, (paths, run.stderr)
        assert "<no value>" not in run.stdout


def test_a_disruption_budget_without_either_limit_is_refused() -> None:
    ((_, values),) = _nulls([_BUDGET])
    message = refusal(_merged(_MINIMAL, values))
    assert "podDisruptionBudget.maxUnavailable: neither it nor minAvailable" in message


def test_the_minimal_example_is_accepted() -> None:
    assert refusal(_MINIMAL) == ""


def test_all_problems_are_reported_at_once() -> None:
    message = refusal(
        _merged(_MINIMAL, _events(replicas=5, partitions=4, terminationGracePeriodSeconds=30))
    )
    assert "consumers.events.replicas" in message
    assert "consumers.events.terminationGracePeriodSeconds" in message


def test_a_problem_of_shared_values_is_reported_once() -> None:
    shared = {"kafka": {"bootstrapServers": []}, "consumers": {"events": {}, "envelopes": {}}}
    assert refusal(_merged(_MINIMAL, shared)).count("no broker: ") == 1


@pytest.mark.parametrize(
    "values",
    [
        _events(replicas=5, partitions=4, allowStandby=True),
        _events(terminationGracePeriodSeconds=40),
        _events(
            heartbeat={"freshnessSeconds": 280},
            kafka={"rdkafka": {"max.poll.interval.ms": 400000}},
        ),
        _events(membership="static", kafka={"rdkafka": {"session.timeout.ms": 90000}}),
        _events(**_KEDA),
        _events(upstream={"existingSecret": {"name": "other"}}),
        {"consumers": {"events": {}, "again": {"topic": "events", "group": "again"}}},
        {"kafka": _SCRAM},
        # Brokers of a consumer's own, without the login of the others.
        {
            "kafka": _SCRAM,
            **_events(kafka={"securityProtocol": "PLAINTEXT", "sasl": {"mechanism": ""}}),
        },
        _events(replicas=3, podDisruptionBudget={"minAvailable": "66%", "maxUnavailable": None}),
        _events(replicas=3, podDisruptionBudget={"minAvailable": 2, "maxUnavailable": None}),
        _events(autoscaling={"maxReplicas": 4, "keda": {"enabled": False}}),
        _events(membership="kip848", kafka={"rdkafka": {"max.poll.interval.ms": 100000}}),
        _events(extraArgs=["--max-in-flight-mb=8"], podLabels={"team": "events"}),
        _events(extraEnv=[{"name": "CONSUMER_LOG_LEVEL", "value": "debug"}]),
        _events(
            extraEnv=[
                {
                    "name": "CONSUMER_KAFKA_CONFIG_SASL_PASSWORD",
                    "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}},
                }
            ]
        ),
        {"exporter": {"enabled": True}, **_events(config={"metrics_tags": {"region": "eu"}})},
    ],
    ids=str,
)
def test_similar_but_valid_values_are_accepted(values: dict[str, Any]) -> None:
    assert refusal(_merged(_MINIMAL, values)) == ""
