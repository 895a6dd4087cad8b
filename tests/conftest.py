"""Fixtures for every test: a real broker, topics of its own, and a real upstream."""

from __future__ import annotations

import gc
import logging
import multiprocessing.sharedctypes  # noqa: F401 - pytester forgets what its runs import first
import os
import re
import signal
import uuid
from collections.abc import Callable, Generator, Iterator
from itertools import chain, zip_longest
from pathlib import Path
from typing import TypeAlias, TypeVar

import pytest
import structlog
from xdist.remote import Producer  # type: ignore[import-untyped]  # it ships no type information
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]  # the same

from consumer_fleet.bootstrap import redaction
from consumer_fleet.bootstrap.logging_setup import FleetHandler
from consumer_fleet.kafka.clients import rdkafka_log
from consumer_fleet.metrics import configure_metrics
from tests.support.bugsink import Bugsink
from tests.support.certificate import make_certificate
from tests.support.kafka_broker import KafkaBroker, running_broker
from tests.support.requirements import MissingPart, require
from tests.support.scripted_receiver import ScriptedReceiver
from tests.support.shared_server import Server, SharedServer

TopicFactory: TypeAlias = Callable[..., str]
S = TypeVar("S", bound=Server)
Share: TypeAlias = Callable[[str, Callable[[], S]], S]

# A shell ignores it for what it starts in the background, and so would each process of a test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionstart() -> None:
    gc.disable()


_BROWSER = "tests/acceptance/test_browser_"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser's files first, for one process; then two that wait for Kafka, and one that
    computes, in turns: side by side they fill the cores.
    """
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    browser = [file for file in files if file.startswith(_BROWSER)]
    waiting = [file for file in files if file.startswith(("tests/integration/", "tests/chaos/"))]
    computing = [file for file in files if file not in browser and file not in waiting]
    turns = zip_longest(waiting[::2], waiting[1::2], computing, fillvalue="")
    order = [*browser, *filter(None, chain.from_iterable(turns))]
    items[:] = chain.from_iterable(files[file] for file in order)


class OneBrowser(LoadFileScheduling):  # type: ignore[misc]  # the same
    """A file's tests run in one process, and all of the browser's in the same one: a browser, and
    the pages that tests share, take seconds to start.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _BROWSER if nodeid.startswith(_BROWSER) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneBrowser | None:
    return OneBrowser(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_finish() -> None:
    """Keep the collector from looking through thousands of collected tests each time."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins without secrets: the passwords of one are words in another."""
    monkeypatch.setattr(redaction, "process_redaction", redaction.Redaction())


@pytest.fixture(autouse=True)
def strict_metrics() -> None:
    """Fail the test that uses an undeclared metric."""
    configure_metrics(strict=True)


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Undo the logging set-up of a test that boots in its own process."""
    yield
    rdkafka_log.setLevel(logging.NOTSET)  # doctor and status silence it
    if structlog.is_configured():
        structlog.reset_defaults()
        logging.captureWarnings(False)
        root = logging.getLogger()
        for handler in [each for each in root.handlers if isinstance(each, FleetHandler)]:
            root.removeHandler(handler)
        root.setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def share(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Share[Server]:
    """``share("Kafka", make)`` starts a server, or joins the one of another process."""
    own = tmp_path_factory.getbasetemp()
    folder = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def share(name: str, make: Callable[[], Server]) -> Server:
        try:
            shared = SharedServer(folder, name, make)
        except MissingPart as error:
            require(name, str(error))
        # Not at the last test's end: there, the wait for the other processes would be its time.
        pytestconfig.add_cleanup(shared.leave)
        return shared.server

    return share


@pytest.fixture(scope="session")
def kafka(share: Share[KafkaBroker], tmp_path_factory: pytest.TempPathFactory) -> KafkaBroker:
    """A running broker that all tests share, those of other processes too.

    Others create topics and groups at any time; a test that this disturbs takes ``own_kafka``.
    """
    return share("Kafka", lambda: KafkaBroker(folder=tmp_path_factory.mktemp("kafka")))


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaBroker]:
    """A running broker for the test alone, which may stop it and start it again."""
    folder = tmp_path / "own-kafka"
    folder.mkdir()
    with running_broker(folder=folder) as broker:
        yield broker


@pytest.fixture
def topic(kafka: KafkaBroker, request: pytest.FixtureRequest) -> TopicFactory:
    """``topic(partitions=1, config=None, prefix=…)`` creates a topic that no other test knows."""
    test = re.sub(r"[^a-zA-Z0-9._-]+", "-", request.node.name)[:80]

    def create(
        partitions: int = 1, config: dict[str, object] | None = None, *, prefix: str = test
    ) -> str:
        return kafka.create_topic(f"{prefix}-{uuid.uuid4().hex[:8]}", partitions, config)

    return create


@pytest.fixture(scope="session")
def bugsink(share: Share[Bugsink], tmp_path_factory: pytest.TempPathFactory) -> Bugsink:
    """A running server that all tests share: look for your own event ids in it."""
    return share("Bugsink", lambda: Bugsink(tmp_path_factory.mktemp("bugsink")))


@pytest.fixture
def upstream() -> Iterator[ScriptedReceiver]:
    """A destination that accepts everything until the test scripts its answers."""
    with ScriptedReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and its key, in a folder whose name is not ASCII."""
    path = tmp_path_factory.mktemp("schlüssel") / "certificate.pem"
    try:
        make_certificate(path)
    except MissingPart as error:
        require("openssl", str(error))
    return path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of the servers that a failed test used."""
    report = yield
    if report.failed:
        for name, fixture in getattr(item, "funcargs", {}).items():
            if isinstance(fixture, KafkaBroker | Bugsink):
                report.sections.append((f"log of {name}", fixture.log_tail()))
    return report
