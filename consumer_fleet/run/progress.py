"""The progress of a run, a recording or a replay: a live line or log lines, and the summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Self

import click
import structlog
from rich.console import Console
from rich.filesize import decimal
from rich.live import Live
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from consumer_fleet.bootstrap.logging_setup import CLEAR_BELOW
from consumer_fleet.humanize import short_number

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import Options
    from consumer_fleet.capture.counts import DestinationStatus
    from consumer_fleet.worker.pool import WorkerPool
    from consumer_fleet.worker.work import OutcomeCounts

log = structlog.get_logger(__name__)

_LOG_INTERVAL_S = 10.0
_SHOW_INTERVAL_S = 0.2
_COLUMNS = 80
_BAR_COLUMNS = 10


def _stderr_console(options: Options) -> tuple[Console, bool]:
    """Return where progress goes, and whether it may be a live line there."""
    console = Console(stderr=True)
    return console, console.is_terminal and options.log_format != "json"


@dataclass(slots=True)
class Figures:
    """The numbers of a moment: ``rate`` in settled messages per second, ``lag`` in messages (None
    if unknown), ``share`` of all messages that is done, from 0 to 1 (None if unknown).
    """

    delivered: int = 0
    filtered: int = 0
    dead_lettered: int = 0
    retried: int = 0
    lag: int | None = 0
    rate: float = 0.0
    trouble: list[DestinationStatus] = field(default_factory=list)
    rejected_as: str = "dead-lettered"
    share: float | None = None

    def line(self) -> str:
        """One line of at most 80 columns, without the troubles; large figures are rounded then."""
        bar = self._bar()
        exact = bar + self._line(lambda number: f"{number:,.0f}", "  ")
        return exact if len(exact) <= _COLUMNS else bar + self._line(short_number, " ")

    def _bar(self) -> str:
        if self.share is None:
            return ""
        # Not whole before it is.
        done = int(self.share * _BAR_COLUMNS)
        return f"{'━' * done:─<{_BAR_COLUMNS}} {int(self.share * 100):>3}%  "

    def _line(self, shown: Callable[[float], str], gap: str) -> str:
        counts = {
            # A bar says how much is left, and there is no room for both.
            **({} if self.lag is None or self.share is not None else {"lag": self.lag}),
            "delivered": self.delivered,
            "filtered": self.filtered,
            "retried": self.retried,
            self.rejected_as: self.dead_lettered,
        }
        named = (f"{name} {shown(number)}" for name, number in counts.items())
        return gap.join([f"{shown(self.rate)}/s", *named])


class TopicCounts(NamedTuple):
    """One of several topics: its settled messages, and how many are left."""

    name: str
    outcomes: OutcomeCounts
    lag: int | None


class TopicTable:
    """Lines below the log on a terminal. The cursor waits at the beginning of the first: a log line
    clears them, takes their place, and the next ones are drawn below it.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, lines: Sequence[str]) -> None:
        # A line that wraps, or one that scrolls, would move the cursor's way back.
        width, height = self._console.size
        shown = [line[: width - 1] for line in lines[: height - 1]]
        up = f"\x1b[{len(shown) - 1}A" if len(shown) > 1 else ""
        self._write(CLEAR_BELOW + "\n".join(shown) + up + "\r")

    def clear(self) -> None:
        self._write(CLEAR_BELOW)

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()


class Progress:
    """Reads the pool's counts once per second and shows them: a live line on a terminal (a table
    with ``has_topics``), else a log line every ten seconds. A context manager.

    ``rejected_as`` is the word for rejected messages. With ``is_quiet`` nothing goes to standard
    output, which has one JSON document then.
    """

    def __init__(
        self,
        console: Console,
        *,
        live: bool,
        rejected_as: str = "dead-lettered",
        is_quiet: bool = False,
        has_topics: bool = False,
    ) -> None:
        self._rejected_as = rejected_as
        self._is_quiet = is_quiet
        self._is_live = live
        self._live: Live | None = None
        self._table: TopicTable | None = None
        if live and has_topics:
            self._table = TopicTable(console)
        elif live:
            self._live = Live(console=console, auto_refresh=False, transient=True)
        self._settled_of: dict[str, int] = {}
        self._started = self._last_at = monotonic()
        self._last_settled = 0
        self._log_at = monotonic() + _LOG_INTERVAL_S

    @classmethod
    def on_stderr(cls, options: Options, *, rejected_as: str, is_quiet: bool = False) -> Self:
        console, live = _stderr_console(options)
        has_topics = len(options.topic) > 1
        return cls(
            console, live=live, rejected_as=rejected_as, is_quiet=is_quiet, has_topics=has_topics
        )

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        if self._table is not None:
            self._table.clear()

    def figures(self, pool: WorkerPool, lag: int | None, share: float | None = None) -> Figures:
        """Return the numbers now."""
        outcomes = pool.outcomes
        statuses = pool.statuses()
        settled, now = outcomes.total, monotonic()
        elapsed = max(now - self._last_at, 1e-3)
        rate = (settled - self._last_settled) / elapsed
        self._last_at, self._last_settled = now, settled
        return Figures(
            delivered=outcomes.delivered,
            filtered=outcomes.filtered.total(),
            dead_lettered=outcomes.rejected.total(),
            retried=sum(status.retried for status in statuses),
            lag=lag,
            rate=rate,
            trouble=[status for status in statuses if status.state != "open"],
            rejected_as=self._rejected_as,
            share=share,
        )

    def show(
        self,
        pool: WorkerPool,
        lag: int | None,
        share: float | None = None,
        topics: Sequence[TopicCounts] = (),
    ) -> None:
        """Called about once per second by the run loop; ``topics`` where there are several."""
        elapsed = monotonic() - self._last_at
        figures = self.figures(pool, lag, share)
        if self._live is not None:
            self._live.update(self._render(figures), refresh=True)
        elif self._table is not None:
            rows = self._rows(topics, max(elapsed, 1e-3))
            self._table.show([*rows, self._render(figures).plain])
        elif monotonic() >= self._log_at:
            self._log_at = monotonic() + _LOG_INTERVAL_S
            log.info(
                "progress",
                rate=round(figures.rate),
                lag=figures.lag,
                delivered=figures.delivered,
                filtered=figures.filtered,
                retried=figures.retried,
                dead_lettered=figures.dead_lettered,
                not_open={status.name: status.state for status in figures.trouble} or None,
                **({} if share is None else {"percent": round(100 * share, 1)}),
                **({"topics": _by_topic(topics)} if topics else {}),
            )

    def _rows(self, topics: Sequence[TopicCounts], elapsed_s: float) -> Iterator[str]:
        """Lines of at most 79 columns."""
        titles = ("LAG", "RATE/S", "DELIVERED", "FILTERED", self._rejected_as.upper())
        width = max(len(topic.name) for topic in topics)
        yield " " * width + "".join(f"{title:>{len(title) + 2}}" for title in titles)
        for name, outcomes, lag in topics:
            rate = (outcomes.total - self._settled_of.get(name, 0)) / elapsed_s
            self._settled_of[name] = outcomes.total
            filtered, rejected = outcomes.filtered.total(), outcomes.rejected.total()
            figures = (rate, outcomes.delivered, filtered, rejected)
            left = "-" if lag is None else short_number(lag)
            shown = zip(titles, (left, *map(short_number, figures)), strict=True)
            yield f"{name:<{width}}" + "".join(f"{text:>{len(title) + 2}}" for title, text in shown)

    @staticmethod
    def _render(figures: Figures) -> Text:
        """Always a single line: workers write to the same terminal, and clear the line they are
        on. The log says why a destination is not open.
        """
        text = Text(no_wrap=True, overflow="ellipsis")
        for status in figures.trouble:
            text.append(f"{status.name} {status.state}  ", style="bold yellow")
        return text.append(figures.line(), style="bold")

    def summarise(self, pool: WorkerPool, topics: Sequence[TopicCounts] = ()) -> None:
        """Say on standard output what became of the messages.

        Without a live line the log, which goes to standard error, has it as an event too.
        """
        outcomes = pool.outcomes
        statuses = pool.statuses()
        seconds = round(monotonic() - self._started, 1)
        if not self._is_live:
            log.info(
                "summary",
                seconds=seconds,
                delivered=outcomes.delivered,
                filtered=dict(sorted(outcomes.filtered.items())),
                dead_lettered=dict(sorted(outcomes.rejected.items())),
                retried=sum(status.retried for status in statuses),
                dropped=sum(status.dropped for status in statuses),
                accepted={status.name: status.accepted for status in statuses},
                workers_restarted=pool.restarts,
                **({"topics": _by_topic(topics)} if topics else {}),
            )
        if self._is_quiet:
            return
        for name, counts, _ in topics:
            click.echo(f"{name}: {self._outcome(counts)}")
        click.echo(f"{self._outcome(outcomes)} in {seconds:,} s")

    def _outcome(self, outcomes: OutcomeCounts) -> str:
        return (
            f"delivered {outcomes.delivered:,}"
            f", filtered {_with_reasons(outcomes.filtered)}"
            f", {self._rejected_as} {_with_reasons(outcomes.rejected)}"
        )


def _by_topic(topics: Sequence[TopicCounts]) -> dict[str, dict[str, int | None]]:
    return {
        name: {
            "lag": lag,
            "delivered": outcomes.delivered,
            "filtered": outcomes.filtered.total(),
            "dead_lettered": outcomes.rejected.total(),
        }
        for name, outcomes, lag in topics
    }


def _with_reasons(counts: Mapping[str, int]) -> str:
    total = f"{sum(counts.values()):,}"
    if not counts:
        return total
    most_first = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return f"{total} ({', '.join(f'{reason} {count:,}' for reason, count in most_first)})"


class TransferProgress:
    """A bar on a terminal, else a log line every ten seconds; a context manager.

    ``total`` is in the unit of ``done`` (offsets, or a file's bytes), None without an end.
    """

    def __init__(
        self,
        action: str,
        total: int | None,
        console: Console,
        *,
        live: bool,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._action = action
        self._total = total
        self._clock = clock
        self._started = clock()
        self._shown_at = 0.0
        self._log_at = self._started + _LOG_INTERVAL_S
        self._bar: Bar | None = None
        if live:
            self._bar = _bar(console, bounded=total is not None)
            self._task = self._bar.add_task(action, total=total, figures="")

    @classmethod
    def on_stderr(cls, options: Options, action: str, total: int | None) -> Self:
        console, live = _stderr_console(options)
        return cls(action, total, console, live=live)

    def show(self, done: int, messages: int, payload_bytes: int) -> None:
        """May be called as often as you like."""
        now = self._clock()
        rate = messages / max(now - self._started, 1e-3)
        if self._bar is not None and now - self._shown_at >= _SHOW_INTERVAL_S:
            self._shown_at = now
            figures = f"{messages:,} msgs  {rate:,.0f}/s  {decimal(payload_bytes)}"
            self._bar.update(self._task, completed=done, figures=figures)
        elif self._bar is None and now >= self._log_at:
            self._log_at = now + _LOG_INTERVAL_S
            log.info(
                "transfer_progress",
                action=self._action,
                messages=messages,
                payload_bytes=payload_bytes,
                rate=round(rate),
                percent=round(100 * done / self._total, 1) if self._total else None,
            )

    def __enter__(self) -> TransferProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def _bar(console: Console, *, bounded: bool) -> Bar:
    columns = [
        TextColumn("{task.description}"),
        *([BarColumn(bar_width=12), TextColumn("{task.percentage:>3.0f}%")] if bounded else []),
        TextColumn("{task.fields[figures]}", markup=False),
        *([TimeRemainingColumn(compact=True)] if bounded else []),
    ]
    return Bar(*columns, console=console, transient=True, refresh_per_second=5)
