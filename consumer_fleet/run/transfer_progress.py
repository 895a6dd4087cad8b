"""What a recording or a replay tells people while it runs."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import structlog
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

log = structlog.get_logger(__name__)

_SHOW_INTERVAL_S = 0.2
_LOG_INTERVAL_S = 10.0


class TransferProgress:
    """A bar on a terminal, else a log line every ten seconds; a context manager.

    ``total`` is in the unit of ``done`` (offsets, or a file's bytes); None where there is no end.
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
        self._bar: Progress | None = None
        if live:
            self._bar = _bar(console, bounded=total is not None)
            self._task = self._bar.add_task(action, total=total, figures="")

    def show(self, done: int, messages: int, payload_bytes: int) -> None:
        """Called as often as one likes."""
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


def _bar(console: Console, *, bounded: bool) -> Progress:
    columns = [
        TextColumn("{task.description}"),
        *([BarColumn(bar_width=12), TextColumn("{task.percentage:>3.0f}%")] if bounded else []),
        TextColumn("{task.fields[figures]}", markup=False),
        *([TimeRemainingColumn(compact=True)] if bounded else []),
    ]
    return Progress(*columns, console=console, transient=True, refresh_per_second=5)
