"""The declarations and the page made from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.metrics.definitions import DEFINITIONS, Metric, index, reference_page
from fleet.metrics.recorder import explodes_cardinality

ROOT = Path(__file__).parents[2]


def test_the_page_says_what_the_definitions_say() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert page == reference_page(DEFINITIONS), "run: python -m fleet.metrics > docs/metrics.md"


def test_a_name_declared_twice_is_an_error() -> None:
    metric = Metric("jobs", "counter", "jobs", "Jobs done.")
    with pytest.raises(ValueError, match="'jobs' is declared twice"):
        index([metric, metric])


@pytest.mark.parametrize("metric", DEFINITIONS, ids=lambda metric: metric.name)
def test_every_declaration_is_complete_and_its_tags_have_few_values(metric: Metric) -> None:
    assert metric.unit
    assert metric.meaning.endswith(".")
    assert not [tag for tag in metric.tags or () if explodes_cardinality(tag)]
