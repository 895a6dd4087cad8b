"""Fill the store from a topic, a dead-letter topic or a recording, in a separate thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Final, TypeAlias

import structlog

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.codec import Decode, Fragment, Incomplete, RawMessage, Skipped
from consumer_fleet.dead_letter_headers import restore
from consumer_fleet.errors import FleetError, RecordingError, RejectedMessage
from consumer_fleet.inspector.entry import (
    MAX_ITEMS,
    EntrySource,
    KafkaPosition,
    NewEntry,
    Rejection,
)
from consumer_fleet.inspector.store import Store
from consumer_fleet.inspector.untrusted import one_line
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.reader import TopicReader
from consumer_fleet.recording.reader import Recording

log = structlog.get_logger(__name__)

# Batches of entries. An empty batch means that there is nothing now: a feed yields at least every
# second, because a stop is noticed between batches.
Feed: TypeAlias = Generator[Sequence[NewEntry], None, None]
# Topic → the codec of its messages; None if unknown.
FindDecode: TypeAlias = Callable[[str], Decode | None]

_BATCH: Final = 200
_POLL_S: Final = 0.2
_STOP_TIMEOUT_S: Final = 5.0
_DETAIL_CHARS: Final = 1000


class Feeder:
    """Moves a feed's entries into the store from ``start`` to the feed's end or ``stop``.

    A failing feed ends with a line in the log and in ``source.problem``; entries read so far stay.
    With ``skip_known``, messages that an earlier run has stored are skipped.
    """

    def __init__(
        self,
        store: Store,
        feed: Feed,
        source: EntrySource | None = None,
        *,
        skip_known: bool = False,
    ) -> None:
        self._store = store
        self._feed = feed
        self._source = source or EntrySource()
        self._known = store.read_origins() if skip_known else set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inspector-feeder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Block until the current batch is stored, for a few seconds at most."""
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
        except Exception as error:  # nothing else would report it
            problem = f"{type(error).__name__}: {error}"
            self._source.problem = f"{problem} (a bug: the inspector's log has the traceback)"
            log.exception("inspector_feed_ended", source=self._source.name, error=problem)
        finally:
            self._feed.close()  # it may hold a recording's open file

    def _is_known(self, entry: NewEntry) -> bool:
        if not self._known or entry.origin is None:
            return False
        origin = entry.origin
        return (origin.topic, origin.partition, origin.offset) in self._known


def topic_feed(reader: TopicReader, decode: Decode) -> Feed:
    """The messages of a topic. The caller closes the reader after the feeder has stopped."""
    while not reader.at_end:
        yield [
            entry_of(reader.topic, message.partition() or 0, Record.from_kafka(message), decode)
            for message in reader.read(_BATCH, _POLL_S)
        ]


def dead_letter_feed(reader: TopicReader, find_decode: FindDecode) -> Feed:
    """The messages of a dead-letter topic. The caller closes the reader, as above."""
    while not reader.at_end:
        yield [
            dead_letter_entry(
                reader.topic, message.partition() or 0, Record.from_kafka(message), find_decode
            )
            for message in reader.read(_BATCH, _POLL_S)
        ]


def recording_feed(recording: Recording, decode: Decode) -> Feed:
    """The messages of a recording. A damaged one yields its readable messages, then raises."""
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


def entry_of(topic: str, partition: int, record: Record, decode: Decode) -> NewEntry:
    """The entry of a topic's message. Never raises for the message's content."""
    message = RawMessage(topic, partition, record.offset, record.timestamp_ms, record.value)
    position = KafkaPosition(topic, partition, record.offset, record.timestamp_ms)
    return _decoded(message, decode, position, None)


def dead_letter_entry(
    topic: str, partition: int, record: Record, find_decode: FindDecode
) -> NewEntry:
    """The entry of a dead letter, decoded as a message of its original topic.

    Its origin is its position in the dead-letter topic; ``dead_letter`` has the original one.
    """
    position = KafkaPosition(topic, partition, record.offset, record.timestamp_ms)
    restored = restore(record.headers)
    if restored is None:
        why = "not a dead letter: the dlq.* headers are missing"
        return _undecodable(record.value, why, position, None)
    last, first = restored.last, restored.origin
    rejection = Rejection(
        reason=one_line(last.reason),
        detail=one_line(last.detail, _DETAIL_CHARS),
        group=one_line(last.group),
        topic=one_line(last.topic),
        partition=last.partition,
        offset=last.offset,
    )
    decode = find_decode(first.topic)
    if decode is None:
        why = f"unknown message format of topic {first.topic!r}: name its consumer with --consumer"
        return _undecodable(record.value, why, position, rejection)
    message = RawMessage(
        first.topic, first.partition, first.offset, first.timestamp_ms, record.value
    )
    return _decoded(message, decode, position, rejection)


def _decoded(
    message: RawMessage, decode: Decode, position: KafkaPosition, rejection: Rejection | None
) -> NewEntry:
    try:
        decoded = decode(message)
    except RejectedMessage as error:
        return _undecodable(message.value, str(error), position, rejection)
    except Exception as error:  # a bug in a codec must not end the feed
        log.exception("codec_error", topic=message.topic, offset=message.offset)
        why = f"codec_error: {type(error).__name__}"
        return _undecodable(message.value, why, position, rejection)
    if isinstance(decoded, Incomplete):
        decoded = decoded.completed({})
    if isinstance(decoded, Fragment):
        return _undecodable(message.value, str(decoded), position, rejection)
    if isinstance(decoded, Skipped):
        return _undecodable(message.value, f"filtered: {decoded.reason}", position, rejection)
    if len(decoded.items) > MAX_ITEMS:
        why = f"too many items: {len(decoded.items)}; the inspector shows at most {MAX_ITEMS}"
        return _undecodable(message.value, why, position, rejection)
    return NewEntry(
        as_bytes(decoded), decoded, _received_at(position), origin=position, dead_letter=rejection
    )


def as_bytes(envelope: Envelope) -> bytes:
    """Serialize the envelope without a destination's ``dsn`` and ``sent_at``."""
    lines = [envelope.header]
    for item in envelope.items:
        lines += (item.header, item.payload)
    return b"\n".join([*lines, b""])


def _undecodable(
    value: bytes | None, why: str, position: KafkaPosition, rejection: Rejection | None
) -> NewEntry:
    return NewEntry(
        value or b"",
        None,
        _received_at(position),
        origin=position,
        dead_letter=rejection,
        undecodable=one_line(why, _DETAIL_CHARS),
    )


def _received_at(position: KafkaPosition) -> float:
    """The broker's timestamp, or the current time if there is none."""
    return time.time() if position.timestamp_ms is None else position.timestamp_ms / 1000
