"""``consumer dlq show``: one dead letter in full, and the codec's present verdict."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.codec import Fragment, Incomplete, RawMessage, Skipped
from consumer_fleet.consumers import registry
from consumer_fleet.consumers.view import ReadableValue, is_secret, read_unknown
from consumer_fleet.dead_letter_headers import Headers
from consumer_fleet.dlq.letters import Letter, LettersTopic, letters_in
from consumer_fleet.dlq.topic import DeadLetterTopic, consumer_of, replay_position
from consumer_fleet.errors import ConfigurationError, RejectedMessage
from consumer_fleet.humanize import moment
from consumer_fleet.kafka.offset_spec import OffsetSpec
from consumer_fleet.printable import (
    REDACTED,
    hex_dump,
    printable,
    printable_bytes,
    without_credentials,
)
from consumer_fleet.recording.reader import Recording

_DUMPED_BYTES = 256
_SHOWN_LINES = 100


@dataclass(frozen=True, slots=True)
class LetterRequest:
    """``where`` is OFFSET or PARTITION/OFFSET in ``source``, a topic or a file."""

    source: DeadLetterTopic | Path
    where: str
    through: str | None
    as_json: bool
    raw: bool


def show(request: LetterRequest, cluster: ClusterOptions) -> None:
    """Print one dead letter. Blocks on the broker."""
    if isinstance(request.source, Path):
        letter, name, named = find_in_file(request.source, request.where)
    else:
        letter, name, named = find_in_topic(cluster.kafka, request.source, request.where)
    if request.raw:
        click.echo(letter.record.value or b"", nl=False)
        return
    consumer = consumer_of(letter.origin.topic if letter.origin else None, named, cluster.options)
    if request.through is not None:
        consumer = registry.get(request.through).name
    if request.as_json:
        click.echo(json.dumps(as_document(letter, name, consumer)))
        return
    for line in as_lines(letter, name, consumer):
        click.echo(line)


def find_in_topic(
    kafka: Mapping[str, Any], topic: DeadLetterTopic, where: str
) -> tuple[Letter, str, str | None]:
    """Return the letter at OFFSET or PARTITION/OFFSET, its topic, and the consumer that was named.

    Raises ConfigurationError if there is no such message, and says what there is.
    """
    partition, offset = _parse(where)
    found = replay_position(kafka, topic)
    if partition is None and found.partitions > 1:
        raise ConfigurationError(
            f"{topic.name} has {found.partitions} partitions: name one, as in 0/{offset}"
        )
    index = partition or 0
    if index not in found.ends:
        raise ConfigurationError(f"{topic.name} has no partition {index}")
    start, end = found.starts.get(index, 0), found.ends[index]
    if start <= offset < end:
        within = {index: (offset, offset + 1)}
        exact = (OffsetSpec("offset", offset), OffsetSpec("offset", offset + 1))
        with LettersTopic(
            kafka, topic.name, start=exact[0], end=exact[1], within=within
        ) as letters:
            for letter in letters.letters():
                return letter, topic.name, topic.consumer
    held = f"it holds offsets {start} to {end - 1}" if end > start else "it is empty"
    raise ConfigurationError(f"{topic.name}/{index} has no message at offset {offset}: {held}")


def find_in_file(file: Path, where: str) -> tuple[Letter, str, str | None]:
    """Do the same in a recording. Without a partition, the first letter at that offset."""
    partition, offset = _parse(where)
    recording = Recording(file)
    for letter in letters_in(recording):
        if letter.record.offset == offset and partition in (None, letter.partition):
            # A file may come from anywhere, and name a consumer that is unknown here.
            consumer = registry.find(recording.header.consumer)
            return letter, recording.header.topic, consumer.name if consumer else None
    raise ConfigurationError(
        f"{file} has no message {where}; `consumer dlq list --each` lists them"
    )


def _parse(where: str) -> tuple[int | None, int]:
    partition, separator, offset = where.rpartition("/")
    texts = [partition, offset] if separator else [offset]
    # Python itself refuses to read thousands of digits; Kafka's numbers have no more than these.
    if not all(text.isascii() and text.isdigit() and len(text) <= 19 for text in texts):
        raise ConfigurationError(
            f"{where!r} is not a valid position: use OFFSET or PARTITION/OFFSET"
        )
    return (int(partition) if separator else None), int(offset)


@dataclass(frozen=True, slots=True)
class CodecVerdict:
    """The codec's present judgement: decodes, filtered, rejected or unknown."""

    outcome: str
    text: str


def verdict(letter: Letter, topic: str, consumer: str | None) -> CodecVerdict:
    """Ask the consumer's codec, here in this process. ``topic`` is where the letter was read."""
    if consumer is None:
        return CodecVerdict(
            "unknown", "message format unknown: name a consumer with --topic or --through"
        )
    record, origin = letter.record, letter.origin
    position = (topic, letter.partition, record.offset, record.timestamp_ms)
    if origin is not None:
        position = (origin.topic, origin.partition, origin.offset, origin.timestamp_ms)
    try:
        decoded = registry.get(consumer).decode(RawMessage(*position, record.value))
    except RejectedMessage as rejection:
        return CodecVerdict("rejected", str(rejection))
    except Exception as error:
        # As in a worker: a codec's bug is the message's rejection.
        return CodecVerdict("rejected", f"codec_error: {type(error).__name__}: {error}")
    if isinstance(decoded, Skipped):
        return CodecVerdict("filtered", decoded.reason)
    if isinstance(decoded, Fragment):
        return CodecVerdict("decodes", f"{decoded}: a replay needs its event, too")
    if isinstance(decoded, Incomplete):
        decoded = decoded.envelope
    kinds = ", ".join(item.type for item in decoded.items) or "no items"
    return CodecVerdict("decodes", f"event id {decoded.event_id or 'none'}, items: {kinds}")


def view_of(value: bytes | None, consumer: str | None) -> ReadableValue:
    """Read a message's value, in its consumer's format if one is known. Never raises."""
    if value is None:
        return ReadableValue("tombstone", None)
    if not value:
        return ReadableValue("empty", None)
    return read_unknown(value) if consumer is None else registry.get(consumer).format.view(value)


def as_document(letter: Letter, topic: str, consumer: str | None) -> dict[str, Any]:
    """The document that ``--json`` prints. Bytes that are not UTF-8 are in base64."""
    view = view_of(letter.record.value, consumer)
    now = verdict(letter, topic, consumer)
    return {
        "topic": topic,
        "partition": letter.partition,
        "offset": letter.record.offset,
        "timestamp_ms": letter.record.timestamp_ms,
        "dead_letter": None if letter.facts is None else letter.facts._asdict(),
        "origin": None if letter.origin is None else letter.origin._asdict(),
        "headers": [[name, _plain(value)] for name, value in _own_headers(letter)],
        "key": _plain(letter.record.key),
        "value": _plain(letter.record.value),
        "consumer": consumer,
        "decoded": {
            "format": view.encoding,
            "content": view.redacted(),
            "damage": view.damage,
            "position": view.position,
        },
        "now": {"outcome": now.outcome, "detail": now.text},
    }


def _plain(value: str | bytes | None) -> Any:
    if value is None or isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _own_headers(letter: Letter) -> Headers:
    return letter.record.headers if letter.restored is None else letter.restored.headers


def as_lines(letter: Letter, topic: str, consumer: str | None) -> Iterator[str]:
    """The lines for a person; each is safe to print on a terminal."""
    record = letter.record
    position = f"partition {letter.partition} offset {record.offset}"
    yield f"{printable(topic)} {position}, {at(record.timestamp_ms)}"
    yield from _facts(letter)
    own = _own_headers(letter)
    yield f"Headers   {'none' if not own else ''}".rstrip()
    for name, value in own:
        hidden = value and is_secret(name)
        yield f"  {printable(name)}: {REDACTED if hidden else without_credentials(_shown(value))}"
    yield f"Key       {_shown(record.key)}"
    view = view_of(record.value, consumer)
    yield from _value(record.value, view)
    if view.content is not None:
        yield f"As {view.encoding}, secrets hidden"
        yield from _content(view)
    now = verdict(letter, topic, consumer)
    yield f"Now       {_now(now, consumer)}"


def at(timestamp_ms: int | None) -> str:
    """A time in UTC, to the second; ``-`` if it is missing or beyond the calendar."""
    found = moment(timestamp_ms)
    return "-" if found is None else f"{found:%Y-%m-%d %H:%M:%S}"


def _facts(letter: Letter) -> Iterator[str]:
    facts, origin = letter.facts, letter.origin
    if facts is None or origin is None:
        yield "Reason    unknown: it has no dlq.* headers, so this program did not dead-letter it"
        return
    yield f"Reason    {printable(facts.reason)}"
    if facts.detail:
        yield f"Detail    {printable(facts.detail)}"
    time = f", {at(origin.timestamp_ms)}" if origin.timestamp_ms is not None else ""
    yield f"Origin    {printable(origin.position)}{time}"
    yield f"Rejected  by group {printable(facts.group) or 'unknown'}"


def _shown(value: str | bytes | None) -> str:
    if value is None:
        return "none"
    text = printable(value) if isinstance(value, str) else printable_bytes(value)
    return text or "empty"


def _value(value: bytes | None, view: ReadableValue) -> Iterator[str]:
    if value is None:
        yield "Value     none: a tombstone"
        return
    yield f"Value     {len(value):,} bytes"
    yield from (f"  {line}" for line in hex_dump(value, 0, _DUMPED_BYTES))
    if view.damage is None:
        if len(value) > _DUMPED_BYTES:
            yield f"  … {len(value) - _DUMPED_BYTES:,} more bytes; --raw writes all of them"
        return
    yield f"Damage    {printable(view.damage)}"
    position = view.position
    if position is not None and position >= _DUMPED_BYTES:
        yield from (f"  {line}" for line in hex_dump(value, max(0, position - 48), position + 48))


def _content(view: ReadableValue) -> Iterator[str]:
    lines = json.dumps(view.redacted(), indent=2, ensure_ascii=False).splitlines()
    for line in lines[:_SHOWN_LINES]:
        yield f"  {printable(line)}"
    if len(lines) > _SHOWN_LINES:
        yield f"  … {len(lines) - _SHOWN_LINES:,} more lines; --json has all of them"


def _now(now: CodecVerdict, consumer: str | None) -> str:
    outcomes = {
        "decodes": f"{consumer} decodes it now",
        "filtered": f"{consumer} filters it now",
        "rejected": f"{consumer} still rejects it",
        "unknown": "unknown",
    }
    return f"{outcomes[now.outcome]}: {printable(now.text)}"
