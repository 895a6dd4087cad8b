"""The output of ``consumer offsets``: tables as wide as their figures, and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from consumer_fleet.humanize import counted, moment
from consumer_fleet.kafka.offset_spec import OffsetSpec
from consumer_fleet.kafka.reader import PartitionId
from consumer_fleet.offsets.plan import MessageCount, Move
from consumer_fleet.status.report import ConsumerStatus
from consumer_fleet.status.table import count, duration, iso_time, loss, partition
from consumer_fleet.targets import Target


def show_table(status: ConsumerStatus, now_s: float) -> Table:
    table = _table("START", "COMMITTED", "END", "LAG", "LOST", "AGE", "LOSS IN")
    for row in status.rows:
        age = None if row.oldest_ms is None else now_s - row.oldest_ms / 1000
        if row.committed is not None and not row.waiting:
            age = 0.0
        table.add_row(
            str(row.index),
            str(row.start),
            "-" if row.committed is None else str(row.committed),
            str(row.end),
            count(row.lag),
            "past end" if row.past_end else count(row.lost),
            duration(age),
            loss(row),
        )
    return table


def reset_table(
    topic: str, moves: list[Move], counts: Mapping[tuple[str, int], MessageCount]
) -> Table:
    table = _table("FROM", "TO", "LOST", "REPEATED", "GONE")
    table.add_column("FROM WHEN TO WHEN (UTC)", no_wrap=True)
    for move in moves:
        found = counts[topic, move.partition]
        table.add_row(
            str(move.partition),
            "-" if move.committed is None else str(move.committed),
            f"{move.to}{'*' if move.clamped else ''}",
            _messages(found) if move.skipped.size else "0",
            _messages(found) if move.repeated.size else "0",
            count(move.gone),
            _span(found),
        )
    return table


def total(moves: list[Move], topic: str, counts: Mapping[tuple[str, int], MessageCount]) -> str:
    """One sentence: the messages lost and repeated, and the offsets deleted before."""
    lost = [counts[topic, move.partition] for move in moves if move.skipped.size]
    repeated = [counts[topic, move.partition] for move in moves if move.repeated.size]
    gone = sum(move.gone for move in moves)
    text = f"{_sum(lost)} lost, {_sum(repeated)} repeated"
    if gone:
        text += f"; {counted(gone, 'offset')} deleted by retention before being consumed"
    return f"{text}."


def _sum(found: list[MessageCount]) -> str:
    bound = "" if all(each.exact for each in found) else "at most "
    return f"{bound}{counted(sum(each.messages for each in found), 'message')}"


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("P", *titles):
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _messages(found: MessageCount) -> str:
    return f"{'' if found.exact else '<='}{count(found.messages)}"


def _span(found: MessageCount) -> str:
    """``01-31 12:00:05 to 13:10:00``: the day only once if it is the same."""
    first, last = moment(found.first_ms), moment(found.last_ms)
    if first is None or last is None:
        return "-"
    same_day = first.date() == last.date()
    return f"{first:%m-%d %H:%M:%S} to {last:{'%H:%M:%S' if same_day else '%m-%d %H:%M:%S'}}"


def reset_document(
    target: Target,
    to: OffsetSpec,
    moves: list[Move],
    counts: Mapping[PartitionId, MessageCount],
    *,
    executed: bool,
) -> dict[str, Any]:
    """The JSON of a reset. ``executed``: the group was moved, not only the plan shown."""
    rows = [move_row(move, counts[target.topic, move.partition]) for move in moves]
    return {
        "group": target.group,
        "topic": target.topic,
        "to": str(to),
        "executed": executed,
        "lost": sum(row["lost"] for row in rows),
        "repeated": sum(row["repeated"] for row in rows),
        "gone": sum(row["gone"] for row in rows),
        "exact": all(row["exact"] for row in rows),
        "partitions": rows,
    }


def move_row(move: Move, found: MessageCount) -> dict[str, Any]:
    """One partition: ``lost`` and ``repeated`` are messages, an upper bound unless ``exact``."""
    return {
        "partition": move.partition,
        "start": move.stored.start,
        "end": move.stored.end,
        "from": move.committed,
        "to": move.to,
        "clamped": move.clamped,
        "lost": found.messages if move.skipped.size else 0,
        "repeated": found.messages if move.repeated.size else 0,
        "gone": move.gone,
        "exact": found.exact,
        "first": iso_time(found.first_ms),
        "last": iso_time(found.last_ms),
    }


def show_document(status: ConsumerStatus, now_s: float) -> dict[str, Any]:
    return {
        "group": status.target.group,
        "topic": status.target.topic,
        "state": status.group.state,
        "partitions": [partition(row, now_s) for row in status.rows],
    }
