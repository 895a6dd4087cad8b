"""Fixtures of the cluster tests: one cluster, one image, one Kafka, and the table of figures."""

from __future__ import annotations

import itertools
import textwrap
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.cluster.cluster import Cluster, check_machine, machine_settings
from tests.cluster.image import Image, build_image
from tests.cluster.leftovers import own_folder
from tests.cluster.receiver import Receiver
from tests.cluster.release import Release
from tests.cluster.scene import Scene
from tests.support.kafka_broker import KafkaBroker, running_broker
from tests.support.requirements import MissingPart, require

Figure: TypeAlias = Callable[[str, object], None]
_PROJECTS = itertools.count(1)
_TABLE_WIDTH = 80
_TEST_TIMEOUT_S = 900


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image of this checkout."""
    try:
        check_machine()
        return build_image(tmp_path_factory.mktemp("image"))
    except MissingPart as error:
        require("a part of the cluster", str(error))


@pytest.fixture(scope="session")
def cluster(image: Image) -> Iterator[Cluster]:
    """Two nodes that have the image. Afterwards the machine's own settings are as before."""
    before = machine_settings()
    with own_folder() as folder, ExitStack() as stack:
        try:
            running = Cluster(folder)
        except MissingPart as error:
            require("a program of Kubernetes", str(error))
        stack.callback(running.close)
        running.load_image(image.archive)
        yield running
        assert machine_settings() == before


@pytest.fixture(scope="session")
def kafka(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker on this machine at an address that pods reach."""
    folder = tmp_path_factory.mktemp("kafka")
    with running_broker(folder=folder, host=cluster.host_address) as broker:
        yield broker


@pytest.fixture(scope="session")
def receiver(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    running = Receiver(cluster.host_address, tmp_path_factory.mktemp("receiver"))
    yield running
    running.close()


@pytest.fixture
def scene(
    cluster: Cluster, kafka: KafkaBroker, receiver: Receiver, tmp_path: Path
) -> Iterator[Scene]:
    """A release that is not installed yet, with a project at the receiver."""
    project = next(_PROJECTS)
    release = Release(cluster, kafka.bootstrap_servers, receiver.dsn(project), tmp_path)
    yield Scene(release, kafka, receiver, project, uuid.uuid4().hex[:8])
    release.remove()


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """``figure("rolled out in", "12 s")`` adds to the test's line in the table."""
    return record_property


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first test more time: it builds everything."""
    for item in items:
        if "tests/cluster/" in item.nodeid:
            item.add_marker(pytest.mark.timeout(_TEST_TIMEOUT_S))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the pods of a failed test, and their logs."""
    report = yield
    scene = getattr(item, "funcargs", {}).get("scene")
    if report.failed and isinstance(scene, Scene):
        report.sections.append(("pods and events", scene.cluster.describe()))
        report.sections.append(("pods' logs", scene.cluster.logs.tail(scene.release.namespace)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print each promise, whether it was kept, and the figures."""
    rows = [
        report
        for outcome in ("passed", "failed", "error", "skipped")
        for report in terminalreporter.stats.get(outcome, ())
        if "tests/cluster/" in report.nodeid and (report.when == "call" or not report.passed)
    ]
    if not rows:
        return
    terminalreporter.section("the chart's promises on a real cluster")
    for report in rows:
        promise = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
        mark = "ok" if report.passed else report.outcome.upper()
        terminalreporter.line(
            textwrap.fill(f"{mark:7} {promise}", _TABLE_WIDTH, subsequent_indent=" " * 8)
        )
        for name, value in report.user_properties:
            terminalreporter.line(f"        {name}: {value}")
