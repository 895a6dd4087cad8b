"""A report as a table in the width of the terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple

from rich.console import (
    Console,
    ConsoleOptions,
    JustifyMethod,
    RenderableType,
    RenderResult,
)
from rich.console import (
    Group as Lines,
)
from rich.table import Table
from rich.text import Text

from consumer_fleet.humanize import moment, short_duration, short_number, sparkline
from consumer_fleet.status.history import History
from consumer_fleet.status.report import ConsumerStatus, Issue, PartitionStatus, Report

WIDTH = 80
_TITLES: Final = (
    *("CONSUMER", "STATE", "MEMBERS", "LAG", "TREND", "BEHIND", "RATE/S", "TREND"),
    "LOSS IN",
)
# Indexes of titles.
_MEMBERS: Final = 2
_LAG_TREND: Final = 4
_RATE_TREND: Final = 7
_TRENDS: Final = (_LAG_TREND, _RATE_TREND)
# The least important first: issues name state and loss, too.
_DISPENSABLE: Final = (_MEMBERS, 6, 1, 8)
_LEFT: Final = (1, *_TRENDS)
_NAME_WIDTH: Final = 24
_WIDE_NAME_WIDTH: Final = 40
_WIDE: Final = 100
_LEAST_NAME_WIDTH: Final = 12
# Where names are cut for trends.
_CUT_NAME_WIDTH: Final = 18
_TREND_WIDTH: Final = 20
_GOOD_TREND_WIDTH: Final = 8
_LEAST_TREND_WIDTH: Final = 5
_GAP: Final = 2
_STATES = {
    "empty": "stopped",
    "absent": "never ran",
    "preparing-rebalancing": "rebalance",
    "completing-rebalancing": "rebalance",
    # librdkafka has no name for a KIP-848 group whose partitions are moving.
    "unknown": "rebalance",
}
_STYLES = {"stable": "green", "rebalance": "yellow"}


def render(
    report: Report,
    issues: list[Issue],
    notes: list[str],
    *,
    partitions: bool = False,
    history: History | None = None,
) -> RenderableType:
    """The table, the issues and the notes. ``partitions`` adds a row for each partition, and
    ``history`` the trends of lag and rate.
    """
    wrong = {(issue.group, issue.topic) for issue in issues}
    rows: list[_Row] = []
    exists = [status for status in report.consumers if status.topic_exists]
    for status in report.consumers:
        bad = (status.target.group, status.target.topic) in wrong
        # The notes name the missing topics, which are most of them on many clusters.
        if exists and not (status.topic_exists or status.group.members or bad):
            continue
        points = () if history is None else history.of(status)
        trends = ([each.waiting for each in points], [each.rate for each in points])
        rows.append(_Row(_cells(status, report.at_s, bad=bad), trends=trends))
        if partitions:
            rows += [_Row(_partition_cells(row, report.at_s), "dim") for row in status.rows]
    lines: list[RenderableType] = [_Fitted(rows, has_trends=history is not None)]
    for issue in issues:
        text = Text(f"! {issue.name}: ", style="bold red")
        lines.append(_Hanging(text.append(issue.text, style="not bold default")))
        if issue.command is not None:
            # Never folded, so that it can be copied.
            lines.append(Text(f"  {issue.command}", no_wrap=True, overflow="ignore"))
        lines.extend(_Hanging(Text(f"  {cause}"), indent=4) for cause in issue.causes)
    lines.extend(_Hanging(Text(note)) for note in notes)
    return Lines(*lines)


class _Hanging:
    """A text whose further lines are indented."""

    def __init__(self, text: Text, indent: int = 2) -> None:
        self._text = text
        self._indent = indent

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = max(1, options.max_width - self._indent)
        first, *others = self._text.wrap(console, room)
        yield first
        yield from (Text(" " * self._indent).append_text(line) for line in others)


class _Row(NamedTuple):
    """A cell for each title; those of trends are drawn when their width is known. Only rows of
    partitions have a style; their first cell has figures.
    """

    cells: tuple[Text | str, ...]
    style: str = ""
    trends: tuple[Sequence[float | None], Sequence[float | None]] = ((), ())

    def cell(self, number: int, trend_width: int) -> Text | str:
        if number not in _TRENDS:
            return self.cells[number]
        return sparkline(self.trends[_TRENDS.index(number)], trend_width)


class _Fitted:
    """The table in the available width: names are cut first, then columns left out. Figures are
    never cut, as half a figure is wrong; the terminal wraps what is still too wide. Trends take
    what is left, and a little of the names.
    """

    def __init__(self, rows: list[_Row], *, has_trends: bool) -> None:
        self._rows = rows
        self._has_trends = has_trends
        columns = zip(_TITLES, *(row.cells for row in rows), strict=True)
        self._widths = [max(map(len, column)) for column in columns]
        figures = [len(row.cells[0]) for row in rows if row.style]
        self._figures = max([_LEAST_NAME_WIDTH, *figures])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown, trend_width = self._choose(options.max_width)
        widths = {**dict(enumerate(self._widths)), **dict.fromkeys(_TRENDS, trend_width)}
        least = min(self._widths[0], self._figures)

        def left() -> int:
            return options.max_width - sum(_GAP + widths[number] for number in shown[1:])

        for number in _DISPENSABLE:
            if left() >= least:
                break
            if number in shown:
                shown.remove(number)
        most = _NAME_WIDTH if options.max_width < _WIDE else _WIDE_NAME_WIDTH
        name_width = min(most, max(left(), least))
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
        table.add_column(_TITLES[0], no_wrap=True, overflow="ellipsis", max_width=name_width)
        for number in shown[1:]:
            justify: JustifyMethod = "left" if number in _LEFT else "right"
            table.add_column(_TITLES[number], no_wrap=True, justify=justify)
        for row in self._rows:
            table.add_row(*(row.cell(number, trend_width) for number in shown), style=row.style)
        width = options.max_width + max(0, least - left())
        yield from console.render(table, options.update(width=width))

    def _choose(self, max_width: int) -> tuple[list[int], int]:
        """The columns, and the width of trends: without MEMBERS where they would be small, with
        that of the lag alone where both have no room.
        """
        shown = [number for number in range(len(_TITLES)) if number not in _TRENDS]
        if not self._has_trends:
            return shown, 0
        most = _NAME_WIDTH if max_width < _WIDE else _WIDE_NAME_WIDTH
        name = min(most, self._widths[0])
        free = max_width - name - sum(_GAP + self._widths[number] for number in shown[1:])
        if free < 2 * (_GAP + _GOOD_TREND_WIDTH):
            shown.remove(_MEMBERS)
            free += _GAP + self._widths[_MEMBERS]
        missing = 2 * (_GAP + _LEAST_TREND_WIDTH) - free
        free += max(0, min(missing, name - max(_CUT_NAME_WIDTH, min(name, self._figures))))
        for trends in (_TRENDS, _TRENDS[:1]):
            width = free // len(trends) - _GAP
            if width >= _LEAST_TREND_WIDTH:
                return sorted([*shown, *trends]), min(width, _TREND_WIDTH)
        return shown, 0


def _cells(status: ConsumerStatus, now_s: float, *, bad: bool) -> tuple[Text | str, ...]:
    state = state_word(status)
    style = "red" if bad else _STYLES.get(state, "dim")
    return (
        Text(status.target.name, style="bold" if status.group.members else ""),
        Text(state, style=style),
        str(status.members) if status.members else "-",
        count(status.waiting),
        "",
        duration(status.lag_s(now_s)),
        "-" if status.rate is None else count(round(status.rate)),
        "",
        loss(status),
    )


def state_word(status: ConsumerStatus) -> str:
    if not status.topic_exists:
        return "no topic"
    if not status.has_run:
        return "never ran"
    return _STATES.get(status.group.state, status.group.state)


def _partition_cells(row: PartitionStatus, now_s: float) -> tuple[str, ...]:
    committed = "-" if row.committed is None else str(row.committed)
    position = f"  {row.index}: {committed} of {row.end}"
    return (
        position if len(position) <= _NAME_WIDTH else f"  {row.index}: {committed}",
        "" if row.owner else "no owner",
        "",
        count(row.waiting),
        "",
        duration(row.lag_s(now_s)),
        "-" if row.rate is None else count(round(row.rate)),
        "",
        loss(row),
    )


def count(number: int | None) -> str:
    """Exact if it fits into seven characters."""
    if number is None:
        return "-"
    exact = f"{number:,}"
    return exact if len(exact) <= 7 else short_number(number)


def duration(seconds: float | None) -> str:
    return "-" if seconds is None else short_duration(max(0.0, seconds))


def loss(status: ConsumerStatus | PartitionStatus) -> str:
    """``LOST`` if it has happened; ``~`` if it is estimated; ``due`` if it may happen now."""
    if status.lost:
        return "LOST"
    found = status.loss
    if found is None:
        return "-"
    if found.seconds <= 0:
        return "due"
    return f"{'~' if found.by == 'size' else ''}{short_duration(found.seconds)}"


def document(report: Report, issues: list[Issue], notes: list[str]) -> dict[str, Any]:
    return {
        "at": iso_time(int(report.at_s * 1000)),
        "consumers": [_consumer(status, report.at_s) for status in report.consumers],
        "findings": [_finding(issue) for issue in issues],
        "unread": report.unread,
        "dead_letters": {topic: each.waiting for topic, each in report.dead_letters.items()},
        "dead_letters_held": {topic: each.held for topic, each in report.dead_letters.items()},
        "notes": notes,
    }


def _finding(issue: Issue) -> dict[str, Any]:
    return {**asdict(issue), "causes": [cause._asdict() for cause in issue.causes]}


def _consumer(status: ConsumerStatus, now_s: float) -> dict[str, Any]:
    retention = status.retention
    return {
        "consumer": status.target.consumer,
        "group": status.target.group,
        "topic": status.target.topic,
        "topic_exists": status.topic_exists,
        "state": status.group.state,
        "protocol": status.group.protocol if status.group.exists else None,
        "members": [
            {
                "member_id": member.member_id,
                "client_id": member.client_id,
                "host": member.host,
                "instance_id": member.instance_id,
                "partitions": sorted(
                    index for topic, index in member.assigned if topic == status.target.topic
                ),
            }
            for member in status.group.members
        ],
        "idle_members": status.idle_members,
        "unowned_partitions": status.unowned,
        "lag": status.lag,
        "waiting": status.waiting,
        "lost": status.lost,
        "skipped": dict(status.skipped.most_common()),
        "lag_s": _seconds(status.lag_s(now_s)),
        "rate_per_s": _seconds(status.rate),
        "time_to_loss_s": status.loss and _seconds(status.loss.seconds),
        "time_to_loss_by": status.loss and status.loss.by,
        "retention": retention
        and {
            "ms": retention.time_ms,
            "bytes": retention.max_bytes,
            "cleanup_policy": retention.cleanup_policy,
        },
        "causes": [cause._asdict() for cause in status.causes],
        "partitions": [partition(row, now_s) for row in status.rows],
    }


def partition(row: PartitionStatus, now_s: float) -> dict[str, Any]:
    """One partition; also what ``consumer offsets show`` prints."""
    return {
        "partition": row.index,
        "start": row.start,
        "end": row.end,
        "committed": row.committed,
        "lag": row.lag,
        "waiting": row.waiting,
        "held": len(row.held.open),
        "held_why": row.held.why or None,
        "lost": row.lost,
        "out_of_range": bool(row.lost) or row.past_end,
        "owner": row.owner,
        "oldest": iso_time(row.oldest_ms),
        "lag_s": None if row.oldest_ms is None else _seconds(now_s - row.oldest_ms / 1000),
        "rate_per_s": _seconds(row.rate),
        "time_to_loss_s": row.loss and _seconds(row.loss.seconds),
        "time_to_loss_by": row.loss and row.loss.by,
    }


def iso_time(timestamp_ms: int | None) -> str | None:
    found = moment(timestamp_ms)
    return None if found is None else found.isoformat(timespec="milliseconds")


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
