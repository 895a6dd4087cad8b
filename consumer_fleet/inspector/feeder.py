"""Fills the store from somewhere else than the envelope endpoint, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from typing import Final, TypeAlias

import structlog

from consumer_fleet.codec import Decode
from consumer_fleet.errors import FleetError, RecordingError
from consumer_fleet.inspector.api import Source
from consumer_fleet.inspector.entry import NewEntry
from consumer_fleet.inspector.messages import FindDecode, dead_letter_entry, entry_of
from consumer_fleet.inspector.store import Store
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.reader import TopicReader
from consumer_fleet.recording.reader import Recording

log = structlog.get_logger(__name__)

# Entries in batches, each when it is asked for. An empty one says that there is nothing now: it
# comes at least every second, since a stop is noticed between batches.
Feed: TypeAlias = Generator[Sequence[NewEntry], None, None]

_BATCH: Final = 200
_POLL_S: Final = 0.2
_STOP_TIMEOUT_S: Final = 5.0


class Feeder:
    """Moves a feed's entries into the store from ``start`` to its end or to ``stop``.

    A feed that fails, for whatever reason, ends with a line in the log and in ``source.problem``;
    what it had brought stays. With ``skip_known``, messages that the store has from an earlier run
    are left out.
    """

    def __init__(
        self, store: Store, feed: Feed, source: Source | None = None, *, skip_known: bool = False
    ) -> None:
        self._store = store
        self._feed = feed
        self._source = source or Source()
        self._known = store.read_origins() if skip_known else set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inspector-feeder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Blocks until the batch at hand is in the store, for a few seconds at most."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            for batch in self._feed:
                entries = [entry for entry in batch if not self._is_known(entry)]
                if entries:
                    self._store.add_all(entries)
                if self._stopping.is_set():
                    break
        except FleetError as error:
            self._source.problem = str(error)
            log.error("inspector_feed_ended", source=self._source.name, error=str(error))
        except Exception as error:  # whatever it is, nobody else would notice
            problem = f"{type(error).__name__}: {error}"
            self._source.problem = f"{problem} (a bug: the inspector's log has the trace)"
            log.exception("inspector_feed_ended", source=self._source.name, error=problem)
        finally:
            self._feed.close()  # a recording's file is open in it

    def _is_known(self, entry: NewEntry) -> bool:
        if not self._known or entry.origin is None:
            return False
        origin = entry.origin
        return (origin.topic, origin.partition, origin.offset) in self._known


def topic_feed(reader: TopicReader, decode: Decode) -> Feed:
    """The messages of a topic. The reader is the caller's to close, once the feeder has stopped."""
    while not reader.at_end:
        yield [
            entry_of(reader.topic, message.partition() or 0, Record.from_kafka(message), decode)
            for message in reader.read(_BATCH, _POLL_S)
        ]


def dead_letter_feed(reader: TopicReader, find_decode: FindDecode) -> Feed:
    """The messages of a dead letter topic, likewise."""
    while not reader.at_end:
        yield [
            dead_letter_entry(
                reader.topic, message.partition() or 0, Record.from_kafka(message), find_decode
            )
            for message in reader.read(_BATCH, _POLL_S)
        ]


def recording_feed(recording: Recording, decode: Decode) -> Feed:
    """The messages of a recording. What is readable of a damaged one comes before the error."""
    topic = recording.header.topic
    batch: list[NewEntry] = []
    try:
        for partition, record in recording.messages():
            batch.append(entry_of(topic, partition, record, decode))
            if len(batch) >= _BATCH:
                yield batch
                batch = []
    except RecordingError:
        yield batch
        raise
    yield batch
