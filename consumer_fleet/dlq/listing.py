"""Dead letters as a table: by reason, or one line each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from consumer_fleet.dlq.letters import Letter
from consumer_fleet.dlq.replay_position import ReasonTally, Tally
from consumer_fleet.dlq.show import at
from consumer_fleet.humanize import short_number
from consumer_fleet.printable import printable, shortened

_ORIGINS_SHOWN = 4


def table(tally: Tally, width: int) -> Iterator[str]:
    """By reason, most first. No line is longer than ``width``."""
    yield f"{'REASON':<28} {'COUNT':>9}  {'OLDEST (UTC)':<19}  NEWEST (UTC)"
    for each in tally.by_reason:
        name = shortened(printable(each.reason), 28)
        times = f"{at(each.oldest_ms):<19}  {at(each.newest_ms):<19}"
        yield f"{name:<28} {each.count:>9,}  {times}".rstrip()
        if each.origins:
            yield shortened(f"  from {_origins(each)}", width)
        if each.example is not None:
            yield shortened(f"  e.g. {each.example.place}{_detail(each.example)}", width)


def _origins(each: ReasonTally) -> str:
    most = each.origins.most_common(_ORIGINS_SHOWN)
    shown = ", ".join(f"{printable(place)} ({count:,})" for place, count in most)
    more = len(each.origins) - len(most)
    return f"{shown} and {more} more" if more > 0 else shown


def _detail(letter: Letter) -> str:
    detail = "" if letter.facts is None else letter.facts.detail
    return f": {printable(detail)}" if detail else ""


def head() -> str:
    """What stands above the lines of ``line``."""
    return f"{'PLACE':<9} {'TIME (UTC)':<14} {'REASON':<17} {'WAS AT':<22} {'SIZE':>5} DETAIL"


def line(letter: Letter, width: int) -> str:
    """One dead letter on one line."""
    origin = "-" if letter.origin is None else printable(letter.origin.place)
    time = at(letter.record.timestamp_ms)[5:] or "-"
    reason = shortened(printable(letter.reason), 17)
    detail = _detail(letter)[2:]
    size = short_number(letter.record.size)
    row = f"{letter.place:<9} {time:<14} {reason:<17} {_fit(origin, 22):<22} {size:>5} {detail}"
    return shortened(row.rstrip(), width)


def _fit(place: str, width: int) -> str:
    """The end of a place says more than its beginning."""
    return place if len(place) <= width else f"…{place[1 - width :]}"


def as_document(tally: Tally) -> list[dict[str, Any]]:
    """The table as ``--json`` prints it."""
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
        for each in tally.by_reason
    ]


def letter_document(letter: Letter) -> dict[str, Any]:
    """One dead letter, without its bytes, as ``--json`` prints it."""
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
