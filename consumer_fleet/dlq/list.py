"""``consumer dlq list``: dead letters by reason, or one line each."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.dlq.letters import (
    DeadLetterCounts,
    Letter,
    LetterFilter,
    LettersTopic,
    ReasonCounts,
    letters_in,
)
from consumer_fleet.dlq.show import at
from consumer_fleet.dlq.topic import DeadLetterTopic, ReplayPosition, replay_position
from consumer_fleet.errors import RecordingError
from consumer_fleet.humanize import counted, short_number
from consumer_fleet.printable import printable, shortened
from consumer_fleet.recording.reader import Recording

# A pipe has no width: nothing is cut, so that grep finds whole values.
_NO_WIDTH = 100_000
_MIN_WIDTH = 80
_ORIGINS_SHOWN = 4
_DEFAULT_LIMIT = 100


@dataclass(frozen=True, slots=True)
class ListRequest:
    """``source`` is a topic or a file; ``each`` lists single messages, at most ``limit``."""

    source: DeadLetterTopic | Path
    chosen: LetterFilter
    each: bool
    limit: int | None
    as_json: bool


@dataclass(slots=True)
class _Found:
    """``held`` counts the messages that are there; of a file, those that ``letters`` has read."""

    name: str
    document: dict[str, Any]
    letters: Iterable[Letter] = ()
    held: int = 0
    position: ReplayPosition | None = None


def list_letters(request: ListRequest, cluster: ClusterOptions) -> None:
    """Print them. Of a damaged file, print what is readable, then raise RecordingError."""
    most = 0
    if request.each:
        most = _DEFAULT_LIMIT if request.limit is None else request.limit
    documents: list[dict[str, Any]] = []

    def take(letter: Letter) -> None:
        if request.as_json:
            documents.append(letter_document(letter))
        else:
            click.echo(line(letter, _width()))

    with ExitStack() as stack:
        found = _open(stack, request, cluster)
        if request.each and not request.as_json:
            click.echo(head())
        counts, damage = _read(found.letters, most, take)
    if request.as_json:
        content = {"dead_letters": documents} if request.each else {"reasons": as_document(counts)}
        facts = {
            "total": counts.total,
            "not_dead_letters": counts.other_messages,
            "complete": damage is None,
        }
        click.echo(json.dumps({**found.document, **facts, **content}))
    elif not request.each:
        _print_table(request, found, counts, is_whole=damage is None)
    elif counts.total > most:
        click.echo(f"{counts.total - most:,} more: list all with --limit {counts.total}", err=True)
    if damage is not None:
        raise damage


def _open(stack: ExitStack, request: ListRequest, cluster: ClusterOptions) -> _Found:
    source, chosen = request.source, request.chosen
    if isinstance(source, Path):
        if chosen.positions:
            raise click.UsageError("--since and --until are positions in a topic, not in a file")
        found = _Found(str(source), {"file": str(source)})
        found.letters = _chosen_of(letters_in(Recording(source)), request, found)
        return found
    now = replay_position(cluster.kafka, source)
    letters = stack.enter_context(
        LettersTopic(cluster.kafka, source.name, start=chosen.start, end=chosen.end)
    )
    document = {"topic": source.name, "group": source.group, "not_replayed": now.waiting}
    taken = filter(chosen.selection.takes, letters.letters())
    return _Found(source.name, document, taken, now.held, now)


def _chosen_of(letters: Iterable[Letter], request: ListRequest, found: _Found) -> Iterator[Letter]:
    for letter in letters:
        found.held += 1
        if request.chosen.selection.takes(letter):
            yield letter


def _read(
    letters: Iterable[Letter], most: int, take: Callable[[Letter], None]
) -> tuple[DeadLetterCounts, RecordingError | None]:
    """Count the letters and take the first of them; also returns where a file is damaged."""
    counts = DeadLetterCounts()
    try:
        for letter in letters:
            counts.add(letter)
            if counts.total <= most:
                take(letter)
    except RecordingError as error:
        return counts, error
    return counts, None


def _print_table(
    request: ListRequest, found: _Found, counts: DeadLetterCounts, *, is_whole: bool
) -> None:
    if not counts.total:
        click.echo(_nothing(request, found) if is_whole else f"{found.name}: nothing is readable.")
        return
    readable = "" if is_whole else ", as far as it is readable"
    position = "" if found.position is None else f"; {found.position.progress}"
    click.echo(f"{counts.described} in {found.name}{readable}{position}\n")
    for row in table(counts, _width()):
        click.echo(row)


def _nothing(request: ListRequest, found: _Found) -> str:
    if not found.held:
        return f"No dead letters in {found.name}."
    held = counted(found.held, "message")
    return f"No match among the {held} in {found.name}: {request.chosen}."


def _width() -> int:
    """The terminal's; a narrow one wraps rather than loses what matters."""
    if not sys.stdout.isatty():
        return _NO_WIDTH
    return max(_MIN_WIDTH, shutil.get_terminal_size((_MIN_WIDTH, 24)).columns)


# -- by reason -------------------------------------------------------------------------------------


def table(counts: DeadLetterCounts, width: int) -> Iterator[str]:
    """By reason, most first. No line is longer than ``width``."""
    yield f"{'REASON':<28} {'COUNT':>9}  {'OLDEST (UTC)':<19}  NEWEST (UTC)"
    for each in counts.by_reason:
        name = shortened(printable(each.reason), 28)
        times = f"{at(each.oldest_ms):<19}  {at(each.newest_ms):<19}"
        yield f"{name:<28} {each.count:>9,}  {times}".rstrip()
        if each.origins:
            yield shortened(f"  from {_origins(each)}", width)
        if each.example is not None:
            yield shortened(f"  e.g. {each.example.position}{_detail(each.example)}", width)


def _origins(each: ReasonCounts) -> str:
    most = each.origins.most_common(_ORIGINS_SHOWN)
    shown = ", ".join(f"{printable(origin)} ({count:,})" for origin, count in most)
    more = len(each.origins) - len(most)
    return f"{shown} and {more} more" if more > 0 else shown


def _detail(letter: Letter) -> str:
    detail = "" if letter.facts is None else letter.facts.detail
    return f": {printable(detail)}" if detail else ""


def as_document(counts: DeadLetterCounts) -> list[dict[str, Any]]:
    """Return the table as ``--json`` prints it."""
    return [
        {
            "reason": each.reason,
            "count": each.count,
            "bytes": each.size,
            "oldest_ms": each.oldest_ms,
            "newest_ms": each.newest_ms,
            "origins": dict(each.origins.most_common()),
            "example": None if each.example is None else letter_document(each.example),
        }
        for each in counts.by_reason
    ]


# -- one by one ------------------------------------------------------------------------------------


def head() -> str:
    """Return the head of the columns of ``line``."""
    return f"{'POSITION':<9} {'TIME (UTC)':<14} {'REASON':<17} {'ORIGIN':<22} {'SIZE':>5} DETAIL"


def line(letter: Letter, width: int) -> str:
    """Return one dead letter on one line."""
    origin = "-" if letter.origin is None else printable(letter.origin.position)
    time = at(letter.record.timestamp_ms)[5:] or "-"
    reason = shortened(printable(letter.reason), 17)
    detail = _detail(letter)[2:]
    size = short_number(letter.record.size)
    row = f"{letter.position:<9} {time:<14} {reason:<17} {_fit(origin, 22):<22} {size:>5} {detail}"
    return shortened(row.rstrip(), width)


def _fit(origin: str, width: int) -> str:
    """The end of an origin says more than its beginning."""
    return origin if len(origin) <= width else f"…{origin[1 - width :]}"


def letter_document(letter: Letter) -> dict[str, Any]:
    """Return one dead letter, without its bytes, as ``--json`` prints it."""
    facts, origin = letter.facts, letter.origin
    return {
        "partition": letter.partition,
        "offset": letter.record.offset,
        "timestamp_ms": letter.record.timestamp_ms,
        "reason": None if facts is None else facts.reason,
        "detail": None if facts is None else facts.detail,
        "origin": None
        if origin is None
        else {"topic": origin.topic, "partition": origin.partition, "offset": origin.offset},
        "bytes": letter.record.size,
    }
