"""What a run tells people while it runs and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic

import click
import structlog
from arroyo.types import Partition
from rich.console import Console
from rich.live import Live
from rich.text import Text

from consumer_fleet.capture.counts import DestinationStatus
from consumer_fleet.humanize import short_number
from consumer_fleet.worker.pool import WorkerPool

log = structlog.get_logger(__name__)

_LOG_INTERVAL_S = 10.0
_COLUMNS = 80
_BAR_COLUMNS = 10


@dataclass(slots=True)
class Figures:
    """The numbers of a moment; ``rate`` is settled messages per second, ``lag`` in messages, None
    where nobody knows how many are left; ``share`` is how much of all is done, from 0 to 1, if
    that is known.
    """

    delivered: int = 0
    filtered: int = 0
    dead_lettered: int = 0
    retried: int = 0
    dropped: int = 0
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


class Progress:
    """Reads the pool's counts once per second and shows them: a live line on a terminal, else a
    log line every ten seconds. ``rejected_as``: what is said of messages that were rejected.
    """

    def __init__(
        self, pool: WorkerPool, console: Console, *, live: bool, rejected_as: str = "dead-lettered"
    ) -> None:
        self._pool = pool
        self._rejected_as = rejected_as
        self._live = Live(console=console, auto_refresh=False, transient=True) if live else None
        self._started = self._last_at = monotonic()
        self._last_settled = 0
        self._log_at = monotonic() + _LOG_INTERVAL_S

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def figures(self, lag: Mapping[Partition, int] | None, share: float | None = None) -> Figures:
        """The numbers now. ``lag`` per partition, in messages."""
        outcomes = self._pool.outcomes
        statuses = self._pool.statuses()
        settled, now = outcomes.total, monotonic()
        elapsed = max(now - self._last_at, 1e-3)
        rate = (settled - self._last_settled) / elapsed
        self._last_at, self._last_settled = now, settled
        return Figures(
            delivered=outcomes.delivered,
            filtered=outcomes.filtered.total(),
            dead_lettered=outcomes.rejected.total(),
            retried=sum(status.retried for status in statuses),
            dropped=sum(status.dropped for status in statuses),
            lag=None if lag is None else sum(lag.values()),
            rate=rate,
            trouble=[status for status in statuses if status.state != "open"],
            rejected_as=self._rejected_as,
            share=share,
        )

    def show(self, lag: Mapping[Partition, int] | None, share: float | None = None) -> Figures:
        """Called about once per second by the run loop. Gives what it showed."""
        figures = self.figures(lag, share)
        if self._live is not None:
            self._live.update(self._render(figures), refresh=True)
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
            )
        return figures

    @staticmethod
    def _render(figures: Figures) -> Text:
        """A single line, always: workers write to the same terminal, and clear the line they are
        on. Why a destination is not open stands in the log.
        """
        text = Text(no_wrap=True, overflow="ellipsis")
        for status in figures.trouble:
            text.append(f"{status.name} {status.state}  ", style="bold yellow")
        return text.append(figures.line(), style="bold")

    def summarise(self, *, is_quiet: bool = False) -> None:
        """The last word of a run, on standard output: what became of the messages. The log, which
        goes to standard error, has it as an event, too; the only one where it ``is_quiet``.
        """
        outcomes = self._pool.outcomes
        statuses = self._pool.statuses()
        seconds = round(monotonic() - self._started, 1)
        if self._live is None:
            log.info(
                "summary",
                seconds=seconds,
                delivered=outcomes.delivered,
                filtered=dict(sorted(outcomes.filtered.items())),
                dead_lettered=dict(sorted(outcomes.rejected.items())),
                retried=sum(status.retried for status in statuses),
                dropped=sum(status.dropped for status in statuses),
                accepted={status.name: status.accepted for status in statuses},
                workers_restarted=self._pool.restarts,
            )
        if is_quiet:
            return
        click.echo(
            f"delivered {outcomes.delivered:,}"
            f", filtered {_with_reasons(outcomes.filtered)}"
            f", {self._rejected_as} {_with_reasons(outcomes.rejected)}"
            f" in {seconds:,} s"
        )


def _with_reasons(counts: Mapping[str, int]) -> str:
    total = f"{sum(counts.values()):,}"
    if not counts:
        return total
    most_first = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return f"{total} ({', '.join(f'{reason} {count:,}' for reason, count in most_first)})"
