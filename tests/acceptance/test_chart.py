"""The chart without a cluster: it lints, renders, matches Kubernetes' schemas and is documented."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import chart_files
from tests.support.chart import EXAMPLES, render_text, tool
from tests.support.chart_files import CHART
from tests.support.kubernetes_schemas import LOCATION, VERSIONS, write_schemas
from tests.support.requirements import MissingPart, require

_EXAMPLE = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schemas")
    try:
        write_schemas(folder)
    except MissingPart as missing:
        require("Kubernetes' schemas", str(missing))
    return folder


def _check(manifests: str, version: str, schemas: Path) -> dict[str, Any]:
    """Return kubeconform's report."""
    run = subprocess.run(
        [
            *(tool("kubeconform"), "-strict", "-summary", "-output=json"),
            *(f"-kubernetes-version={version}", f"-schema-location={schemas}/{LOCATION}"),
        ],
        input=manifests,
        capture_output=True,
        text=True,
        check=False,
    )
    report: dict[str, Any] = json.loads(run.stdout)
    return report


@_EXAMPLE
def test_an_example_passes_the_strict_linter(example: Path) -> None:
    run = subprocess.run(
        [tool("helm"), "lint", "--strict", str(CHART), f"--values={example}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("version", VERSIONS)
@_EXAMPLE
def test_every_object_of_an_example_satisfies_kubernetes_schemas(
    example: Path, version: str, schemas: Path
) -> None:
    manifests = render_text(example)
    report = _check(manifests, version, schemas)
    assert report["resources"] == []
    assert report["summary"] == {
        "valid": len(re.findall(r"^kind: ", manifests, re.MULTILINE)),
        "invalid": 0,
        "errors": 0,
        "skipped": 0,
    }


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("terminationGracePeriodSeconds:", "terminationGraceSeconds:"),
        ("medium: Memory", "medium: [Memory]"),
        ("pollingInterval: 30", "pollInterval: 30"),
        ("interval: 30s", "interval: soon"),
    ],
)
def test_the_schemas_find_a_mistake(right: str, wrong: str, version: str, schemas: Path) -> None:
    manifests = render_text(CHART / "examples/production.yaml")
    assert right in manifests
    report = _check(manifests.replace(right, wrong), version, schemas)
    assert report["summary"]["invalid"] > 0


def test_its_own_unit_tests_pass() -> None:
    run = subprocess.run(
        [tool("helm-unittest"), "--strict", str(CHART)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    counted = re.search(r"Tests: +(\d+) passed, (\d+) total", run.stdout)
    assert counted is not None
    assert counted[1] == counted[2]


def test_its_readme_is_up_to_date() -> None:
    run = subprocess.run(
        [
            *(tool("helm-docs"), "--dry-run", "--sort-values-order=file", "--log-level=error"),
            f"--chart-search-root={CHART}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == (CHART / "README.md").read_text().strip(), "run `make docs`"


def test_every_value_has_a_description() -> None:
    table = (CHART / "README.md").read_text().partition("## Values")[2]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    # A map may be described as a whole, at its own key.
    undescribed = {row[0].strip("|` ") for row in rows if not row[-1].strip(" |")}
    described = {row[0].strip("|` ") for row in rows} - undescribed
    assert {
        key for key in undescribed if not any(key.startswith(f"{other}.") for other in described)
    } == set()


@pytest.mark.parametrize(
    "path", chart_files.expected(), ids=lambda path: str(path.relative_to(CHART))
)
def test_a_generated_file_is_up_to_date(path: Path) -> None:
    assert path.read_text() == chart_files.expected()[path], "run `make docs`"


def test_values_and_schema_have_the_same_keys() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    known = {
        key
        for key in _schema_keys(schema, schema)
        # `global` comes from a parent chart; the others exist only for a single consumer.
        if key != "global" and not re.match(r"defaults\.(kafka|upstream|saas|destinationCa)\b", key)
    }
    assert known == set(_value_keys(values, known))


# Definitions with keys that the user chooses.
_FREE = ("#/definitions/config", "#/definitions/rdkafka", "#/definitions/resources")


def _schema_keys(node: dict[str, Any], whole: dict[str, Any], place: str = "") -> Iterator[str]:
    reference = node.get("$ref")
    if reference in _FREE:
        return
    if reference is not None:
        node = whole["definitions"][reference.rpartition("/")[2]]
    if "properties" in node and node.get("additionalProperties") is False:
        for name, child in node["properties"].items():
            yield place + name
            yield from _schema_keys(child, whole, f"{place}{name}.")


def _value_keys(node: object, known: set[str], place: str = "") -> Iterator[str]:
    """Yield the keys of values.yaml, except those within a free map."""
    if isinstance(node, dict) and (not place or any(key.startswith(place) for key in known)):
        for name, child in node.items():
            yield place + name
            yield from _value_keys(child, known, f"{place}{name}.")


@pytest.mark.timed
def test_thirteen_consumers_render_within_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    values = yaml.safe_load((CHART / "examples/production.yaml").read_text())
    values["consumers"] = {
        f"events-{number}": {
            "topic": ("events", "ingest-events", "envelopes")[number % 3],
            "physicalTopic": f"events-{number}",
            "group": f"fleet-{number}",
            "partitions": 8,
            "autoscaling": {"keda": {"enabled": True}},
        }
        for number in range(13)
    }
    render_text(values)  # Helm and the chart are in the file cache from here
    took_s = []
    for _ in range(3):
        started = time.monotonic()
        manifests = render_text(values)
        took_s.append(time.monotonic() - started)
    seconds = min(took_s)  # the fastest run has the least of the machine's other work
    with capsys.disabled():
        print(f"\n13 consumers: {len(manifests) // 1024} KiB of manifests in {seconds:.2f} s")  # noqa: T201 -- the figure is asked for
    assert manifests.count("kind: ScaledObject") == 13
    assert seconds < 1
