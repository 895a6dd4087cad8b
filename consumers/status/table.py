"""A report as people read it: at most 80 columns, one row per consumer."""

from __future__ import annotations

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from consumers.figures import short_duration, short_number
from consumers.status.findings import Finding
from consumers.status.report import ConsumerStatus, PartitionStatus, Report

WIDTH = 80
_NAME_WIDTH = 24
_STATES = {
    "empty": "stopped",
    "absent": "never ran",
    "preparing-rebalancing": "rebalance",
    "completing-rebalancing": "rebalance",
    # librdkafka has no word for a KIP-848 group whose partitions are moving.
    "unknown": "rebalance",
}
_STYLES = {"stable": "green", "rebalance": "yellow"}


def render(
    report: Report, findings: list[Finding], notes: list[str], *, partitions: bool = False
) -> RenderableType:
    """The table, what is wrong, and the notes. ``partitions`` adds a row for each of them."""
    table = new_table("CONSUMER", "STATE")
    for title in ("MEMBERS", "LAG", "BEHIND", "RATE/S", "LOSS IN"):
        table.add_column(title, justify="right", no_wrap=True)
    wrong = {(finding.group, finding.topic) for finding in findings}
    for status in report.consumers:
        target = status.target
        bad = (target.group, target.topic) in wrong
        _add_row(table, status, report.at_s, bad=bad)
        if partitions:
            for row in status.rows:
                table.add_row(*_partition_cells(row, report.at_s), style="dim")
    lines: list[RenderableType] = [table]
    for finding in findings:
        text = Text(f"! {finding.name}: ", style="bold red")
        lines.append(text.append(finding.text, style="not bold default"))
        if finding.command is not None:
            # Never folded: it is there to be copied.
            lines.append(Text(f"  {finding.command}", no_wrap=True, overflow="ignore"))
    lines.extend(Text(note) for note in notes)
    return Lines(*lines)


def new_table(*titles: str) -> Table:
    """A table without lines, whose first column is cut where it is too long."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    first, *others = titles
    table.add_column(first, no_wrap=True, overflow="ellipsis", max_width=_NAME_WIDTH)
    for title in others:
        table.add_column(title, no_wrap=True)
    return table


def _add_row(table: Table, status: ConsumerStatus, now_s: float, *, bad: bool) -> None:
    state = _state(status)
    style = "red" if bad else _STYLES.get(state, "dim")
    table.add_row(
        Text(status.target.name, style="bold" if status.group.members else ""),
        Text(state, style=style),
        str(status.members) if status.members else "-",
        count(status.waiting),
        duration(status.lag_s(now_s)),
        "-" if status.rate is None else count(round(status.rate)),
        loss(status),
    )


def _state(status: ConsumerStatus) -> str:
    if not status.topic_exists:
        return "no topic"
    if not status.has_run:
        return "never ran"
    return _STATES.get(status.group.state, status.group.state)


def _partition_cells(row: PartitionStatus, now_s: float) -> tuple[str, ...]:
    age = None if row.oldest_ms is None else now_s - row.oldest_ms / 1000
    if row.committed is not None and not row.waiting:
        age = 0.0
    return (
        f"  {row.index}: {'-' if row.committed is None else row.committed} of {row.end}",
        "" if row.owner else "no owner",
        "",
        count(row.waiting),
        duration(age),
        "-" if row.rate is None else count(round(row.rate)),
        loss(row),
    )


def count(number: int | None) -> str:
    """Exact where it fits into seven characters."""
    if number is None:
        return "-"
    exact = f"{number:,}"
    return exact if len(exact) <= 7 else short_number(number)


def duration(seconds: float | None) -> str:
    return "-" if seconds is None else short_duration(max(0.0, seconds))


def loss(status: ConsumerStatus | PartitionStatus) -> str:
    """``LOST`` where it has happened; ``~`` where it is estimated; ``due`` at any moment."""
    if status.lost:
        return "LOST"
    found = status.loss
    if found is None:
        return "-"
    if found.seconds <= 0:
        return "due"
    return f"{'~' if found.by == 'size' else ''}{short_duration(found.seconds)}"
