"""The declarations of the metrics."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer_fleet.metrics.definitions import DEFINITIONS, Metric, index
from consumer_fleet.metrics.recorder import explodes_cardinality

ROOT = Path(__file__).parents[3]
_KINDS = {
    "incr": "counter",
    "gauge": "gauge",
    "timing": "timing",
    "timer": "timing",
    "distribution": "distribution",
}


def test_a_name_declared_twice_is_an_error() -> None:
    metric = Metric("jobs", "counter", "jobs", "Jobs done.")
    with pytest.raises(ValueError, match="'jobs' is declared twice"):
        index([metric, metric])


@pytest.mark.parametrize("metric", DEFINITIONS, ids=lambda metric: metric.name)
def test_every_declaration_is_complete_and_its_tags_have_few_values(metric: Metric) -> None:
    assert metric.unit
    assert metric.meaning.endswith(".")
    assert not [tag for tag in metric.tags or () if explodes_cardinality(tag)]


def measured_literally() -> Iterator[tuple[str, str, str]]:
    """Place, kind and name of every measurement in the packages whose name is a literal."""
    for package in ("consumer_fleet", "consumers", "strategies"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if "node_modules" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if not (isinstance(node, ast.Call) and node.args):
                    continue
                called = getattr(node.func, "attr", getattr(node.func, "id", "")).lstrip("_")
                name = getattr(node.args[0], "value", None)
                if called in _KINDS and isinstance(name, str):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", _KINDS[called], name


def test_every_measurement_in_the_code_is_declared_as_that_kind() -> None:
    declared = {(metric.kind, metric.name) for metric in DEFINITIONS}
    measured = list(measured_literally())
    assert measured
    assert [each for each in measured if each[1:] not in declared] == []
