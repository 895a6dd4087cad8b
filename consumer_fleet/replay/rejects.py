"""The file that keeps what a replay rejects: a recording, made with the first of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

import structlog
from arroyo.types import Partition

from consumer_fleet.dead_letter_headers import restore, with_facts
from consumer_fleet.errors import FleetError, OutputError
from consumer_fleet.kafka.chunk import DeadLetter, Record
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.recording.writer import RecordingWriter

log = structlog.get_logger(__name__)


class Kept:
    """The promise that one rejected message will be in the file. ``kept`` once it is on disk."""

    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept = False


class RejectsFile:
    """Takes the place of the dead letter topic where the message may have come from there.

    A message is kept once the file is forced to the disk, which ``poll`` does for all that came
    since the last one. A file that can't be written ends the run, through ``on_failure``, and
    nothing that it should hold is settled. Lives in the run loop's thread.

    Construction raises OutputError where the file is there already or can't be made.
    """

    def __init__(
        self,
        path: Path,
        header: RecordingHeader,
        *,
        by: str,
        on_failure: Callable[[FleetError], None],
    ) -> None:
        _refuse(path)
        self.path = path
        #: Messages in the file.
        self.messages = 0
        #: The file can't be written: no promise will be kept any more.
        self.is_off = False
        self._header = header
        self._by = by
        self._on_failure = on_failure
        self._writer: RecordingWriter | None = None
        self._waiting: list[tuple[int, Record, Kept]] = []

    @property
    def idle(self) -> bool:
        return not self._waiting

    def produce(self, partition: Partition, letter: DeadLetter) -> Kept:
        """Hand over one rejected message. Writes nothing yet."""
        facts = letter.facts(partition, self._by)
        restored = restore(letter.record.headers)
        headers = letter.record.headers
        if restored is not None:
            # Told anew, with the place that it had first; its earlier reason is out of date.
            headers, origin = restored.headers, restored.origin
            facts = origin._replace(reason=facts.reason, detail=facts.detail, group=self._by)
        log.warning(
            "replay_rejected", origin=facts.place, reason=facts.reason, detail=facts.detail[:200]
        )
        kept = Kept()
        record = letter.record._replace(headers=with_facts(headers, facts))
        self._waiting.append((partition.index, record, kept))
        return kept

    def poll(self, timeout_s: float = 0.0) -> None:
        """Force what came since the last call to the disk. Blocks for that long."""
        if not self._waiting or self.is_off:
            return
        waiting, self._waiting = self._waiting, []
        try:
            if self._writer is None:
                self._writer = RecordingWriter(self.path, self._header)
            self._writer.write((index, record) for index, record, _ in waiting)
            self._writer.sync()
        except OutputError as error:
            self.is_off = True
            self._on_failure(error)
            return
        self.messages += len(waiting)
        for _, _, kept in waiting:
            kept.kept = True

    def forget_all(self) -> None:
        self._waiting.clear()

    def close(self, timeout_s: float) -> None:
        """Complete the file, if there is one. Raises OutputError where that fails."""
        if self._writer is None:
            return
        with self._writer as writer:
            if not self.is_off:
                writer.complete()


def _refuse(path: Path) -> None:
    """Not in the middle of a replay: what can be known at its start is said there."""
    for taken in (path, partial_path(path)):
        try:
            taken.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OutputError(
                f"{taken} can't be written: {error.strerror}; name another file with --rejects"
            ) from error
        raise OutputError(f"{taken} exists: name another file with --rejects, or move it away")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path} can't be written: is {path.parent} a folder, and writable?")


def partial_path(path: Path) -> Path:
    """The file's name until it is complete."""
    return path.with_name(f"{path.name}.partial")


def free_path(name: str) -> Path:
    """``NAME.rejected.recording`` in the working directory; numbered, if that one is there."""
    for number in count(1):
        more = "" if number == 1 else f"-{number}"
        path = Path(f"{name}.rejected{more}.recording")
        if not os.path.lexists(path) and not os.path.lexists(partial_path(path)):
            break
    return path
