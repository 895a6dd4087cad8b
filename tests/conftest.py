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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take two files that wait for Kafka, then one that computes: side by side they fill a core."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting = [path for path in files if path.parent.name in {"integration", "chaos"}]
    computing = [path for path in files if path not in waiting]
    turns = zip_longest(waiting[::2], waiting[1::2], computing)
    items[:] = chain.from_iterable(files[path] for turn in turns for path in turn if path)


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
