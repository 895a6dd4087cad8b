"""The pytest plugin: replays of recordings, and a Kafka broker, as fixtures (docs/testing.md).

Every run of pytest loads this module where the package is installed: it imports nothing of the
package before a test asks for a fixture.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from consumer_fleet.recording.reader import Recording
    from consumer_fleet.testing import (
        ExpectationFiles,
        KafkaCluster,
        MadeRecording,
        Messages,
        Replayable,
        Replayed,
    )
_UPDATE = "--update-recordings"
_FOLDER = "consumer_fleet_recordings"
_NOT_CI = ("", "0", "false", "no")
_FILES: pytest.StashKey[ExpectationFiles] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("consumer-fleet")
    group.addoption(
        _UPDATE,
        action="store_true",
        default=False,
        help="write expectation files instead of comparing with them, and record recordings again "
        "if Kafka brokers are configured",
    )
    parser.addini(
        _FOLDER,
        help="folder of the recordings, relative to each test file's own; default: recordings",
        default="recordings",
    )


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption(_UPDATE):
        return
    if os.environ.get("CI", "").lower() not in _NOT_CI:
        raise pytest.UsageError(
            f"{_UPDATE} rewrites expectations, so it is not allowed where CI is set"
        )
    if config.getoption("dist", "no") != "no":
        raise pytest.UsageError(f"{_UPDATE} writes files: run it in one process, without -n")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    files = terminalreporter.config.stash.get(_FILES, None)
    for path in files.written if files is not None else ():
        terminalreporter.write_line(f"consumer-fleet: written: {path}")


class RecordingFixture:
    """``recording("name")`` opens a recording; ``recording.of([...])`` makes one."""

    def __init__(self, folder: Path, files: ExpectationFiles) -> None:
        self.folder = folder
        self._files = files

    def __call__(self, name: str | Path) -> Recording:
        """Open the recording in ``folder``, or at a path. Raises RecordingError."""
        __tracebackhide__ = True
        from consumer_fleet.testing import open_recording  # noqa: PLC0415 - see the module

        return open_recording(self.folder, name, self._files)

    def of(self, messages: Messages, *, topic: str = "events") -> MadeRecording:
        """Make one of bytes, None (a tombstone), or ``consumer_fleet.testing.Message``."""
        from consumer_fleet.testing import MadeRecording  # noqa: PLC0415 - see the module

        return MadeRecording(messages, topic=topic)


class ReplayFixture:
    """``replay(recording)``: ``consumer_fleet.testing.replay``, whose result can be checked."""

    def __init__(self, folder: Path, files: ExpectationFiles) -> None:
        self._folder = folder
        self._files = files

    def __call__(
        self, recording: Replayable, consumer: str | None = None, **options: Any
    ) -> Replayed:
        """``options`` are the keyword parameters of ``consumer_fleet.testing.replay``."""
        __tracebackhide__ = True
        from consumer_fleet.testing import Expectations, replay  # noqa: PLC0415 - see the module

        replayed = replay(recording, consumer, **options)
        path = getattr(recording, "path", None)
        folder = self._folder if path is None else path.parent
        stem = None if path is None else path.name
        return replace(replayed, expectations=Expectations(folder, stem, self._files))


@pytest.fixture
def recording(request: pytest.FixtureRequest) -> RecordingFixture:
    """Recordings of this test's folder, or made by it: see ``RecordingFixture``."""
    return RecordingFixture(_folder(request), _files(request.config))


@pytest.fixture
def replay(request: pytest.FixtureRequest) -> ReplayFixture:
    """Replay a recording in memory: see ``consumer_fleet.testing.replay``."""
    return ReplayFixture(_folder(request), _files(request.config))


@pytest.fixture
def kafka_cluster() -> Iterator[KafkaCluster]:
    """An embedded broker of this test's own, which starts in 60 ms: see ``KafkaCluster``."""
    from consumer_fleet.testing import KafkaCluster  # noqa: PLC0415 - see the module

    with KafkaCluster() as cluster:
        yield cluster


def _folder(request: pytest.FixtureRequest) -> Path:
    return request.path.parent / str(request.config.getini(_FOLDER))


def _files(config: pytest.Config) -> ExpectationFiles:
    """Return the files of the run; they are made when first needed."""
    from consumer_fleet.testing import ExpectationFiles  # noqa: PLC0415 - see the module

    return config.stash.setdefault(_FILES, ExpectationFiles(config.getoption(_UPDATE)))
