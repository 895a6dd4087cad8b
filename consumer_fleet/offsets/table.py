"""The output of ``consumer offsets``: tables as wide as their figures, and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from consumer_fleet.humanize import counted, moment
from consumer_fleet.kafka.offset_spec import OffsetSpec
from consumer_fleet.offsets.plan import MessageCount, Move
from consumer_fleet.status.report import ConsumerStatus
from consumer_fleet.status.table import count, duration, iso_time, loss, partition
from consumer_fleet.targets import Target

_NO_WIDTH = 10_000


def print_table(table: Table) -> None:
    """Print at full width: a narrow terminal wraps lines, since half an offset is wrong."""
    Console(width=_NO_WIDTH).print(table)


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("P", *titles):
        table.add_column(title, justify="right", no_wrap=True)
    return table


# -- show ------------------------------------------------------------------------------------------


def print_status(status: ConsumerStatus, now_s: float, *, as_json: bool) -> None:
    target = status.target
    if as_json:
        document = {
            "group": target.group,
            "topic": target.topic,
            "state": status.group.state,
            "partitions": [partition(row, now_s) for row in status.rows],
        }
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(f"group {target.group} ({status.group.state}) on topic {target.topic}")
    table = _table("START", "COMMITTED", "END", "LAG", "LOST", "AGE", "LOSS IN")
    for row in status.rows:
        table.add_row(
            str(row.index),
            str(row.start),
            "-" if row.committed is None else str(row.committed),
            str(row.end),
            count(row.lag),
            "past end" if row.past_end else count(row.lost),
            duration(row.lag_s(now_s)),
            loss(row),
        )
    print_table(table)


# -- reset -----------------------------------------------------------------------------------------


def print_reset(
    target: Target, to: OffsetSpec, moves: list[Move], *, executed: bool, as_json: bool
) -> None:
    """``executed``: the group was moved, not only the plan shown."""
    if as_json:
        document = {
            "group": target.group,
            "topic": target.topic,
            "to": str(to),
            "executed": executed,
            "lost": sum(move.lost for move in moves),
            "repeated": sum(move.repeated_messages for move in moves),
            "gone": sum(move.gone for move in moves),
            "exact": all(move.count.exact for move in moves),
            "partitions": [_move_document(move) for move in moves],
        }
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(f"group {target.group} on topic {target.topic}, to {to}")
    print_table(reset_table(moves))
    if any(move.clamped for move in moves):
        click.echo("* The requested offset is not available: this is the nearest one.")
    click.echo(_total(moves))
    if executed:
        click.echo("Done: the group was moved.")
    elif any(move.moves for move in moves):
        click.echo("Nothing was moved. To move the group, add --execute.")
    else:
        click.echo("The group is already there.")


def _move_document(move: Move) -> dict[str, Any]:
    return {
        "partition": move.partition,
        "start": move.stored.start,
        "end": move.stored.end,
        "from": move.committed,
        "to": move.to,
        "clamped": move.clamped,
        "lost": move.lost,
        "repeated": move.repeated_messages,
        "gone": move.gone,
        "exact": move.count.exact,
        "first": iso_time(move.count.first_ms),
        "last": iso_time(move.count.last_ms),
    }


def reset_table(moves: list[Move]) -> Table:
    table = _table("FROM", "TO", "LOST", "REPEATED", "GONE")
    table.add_column("FROM WHEN TO WHEN (UTC)", no_wrap=True)
    for move in moves:
        bound = "" if move.count.exact else "<="
        table.add_row(
            str(move.partition),
            "-" if move.committed is None else str(move.committed),
            f"{move.to}{'*' if move.clamped else ''}",
            f"{bound}{count(move.lost)}" if move.skipped.size else "0",
            f"{bound}{count(move.repeated_messages)}" if move.repeated.size else "0",
            count(move.gone),
            _span(move.count),
        )
    return table


def _span(found: MessageCount) -> str:
    """``01-31 12:00:05 to 13:10:00``: the day only once if it is the same."""
    first, last = moment(found.first_ms), moment(found.last_ms)
    if first is None or last is None:
        return "-"
    same_day = first.date() == last.date()
    return f"{first:%m-%d %H:%M:%S} to {last:{'%H:%M:%S' if same_day else '%m-%d %H:%M:%S'}}"


def _total(moves: list[Move]) -> str:
    """One sentence: the messages lost and repeated, and the offsets deleted before."""
    lost = _sum(move.count for move in moves if move.skipped.size)
    repeated = _sum(move.count for move in moves if move.repeated.size)
    gone = sum(move.gone for move in moves)
    text = f"{lost} lost, {repeated} repeated"
    if gone:
        text += f"; {counted(gone, 'offset')} deleted by retention before being consumed"
    return f"{text}."


def _sum(counts: Iterable[MessageCount]) -> str:
    found = list(counts)
    bound = "" if all(each.exact for each in found) else "at most "
    return f"{bound}{counted(sum(each.messages for each in found), 'message')}"
