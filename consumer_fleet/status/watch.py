"""``consumer status --watch``: the table, refreshed until Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console, RenderableType
from rich.console import Group as Lines
from rich.live import Live
from rich.text import Text

from consumer_fleet.errors import KafkaUnreachable
from consumer_fleet.kafka.clients import rdkafka_log
from consumer_fleet.status.history import History
from consumer_fleet.status.report import Judge, notes
from consumer_fleet.status.sampler import Sampler
from consumer_fleet.status.table import WIDTH, render

_TURN_S = 0.2
# More than a trend is wide.
_SAMPLES_KEPT = 100


class Watch:
    """Samples in a thread of its own: a client that waits for an absent broker can't be
    interrupted, and Ctrl-C must end at once. ``sampler`` belongs to that thread from here on.
    """

    def __init__(
        self, sampler: Sampler, judge: Judge, interval_s: float, *, partitions: bool
    ) -> None:
        self._sampler = sampler
        self._judge = judge
        self._interval_s = interval_s
        self._partitions = partitions
        self._history = History(_SAMPLES_KEPT)
        self._stop = threading.Event()
        self._fresh = threading.Event()
        self._error: Exception | None = None
        self._table: RenderableType | None = None
        self._away_since: datetime | None = None
        self._why = ""

    def run(self) -> None:
        """Block until Ctrl-C. Raises any error but an absence of Kafka, which may pass."""
        # A daemon: the interpreter must not wait for a client that waits for a broker.
        thread = threading.Thread(target=self._keep_sampling, name="status", daemon=True)
        thread.start()
        try:
            with self._screen() as show:
                while self._error is None:
                    if self._fresh.wait(_TURN_S):
                        self._fresh.clear()
                        show(self._frame())
        except KeyboardInterrupt:
            pass
        finally:
            self._stop.set()
            thread.join(1.0)
        if self._error is not None:
            raise self._error

    def _keep_sampling(self) -> None:
        try:
            self._sample_until_stopped()
        except Exception as error:
            self._error = error  # raised again by the main thread
            self._fresh.set()
        finally:
            self._sampler.close()

    def _sample_until_stopped(self) -> None:
        while not self._stop.is_set():
            try:
                report = self._sampler.sample()
                issues = self._judge.issues(report)
                self._history.add(report)
                self._table = render(
                    report,
                    issues,
                    notes(report, issues),
                    partitions=self._partitions,
                    history=self._history,
                )
                self._away_since = None
            except KafkaUnreachable as error:
                self._away_since = self._away_since or datetime.now()
                self._why = str(error)
            self._fresh.set()
            self._stop.wait(self._interval_s)

    def _frame(self) -> RenderableType:
        now = datetime.now().strftime("%H:%M:%S")
        if self._away_since is None:
            head = Text(
                f"consumer status at {now}, every {self._interval_s:g} s; Ctrl-C to stop",
                style="dim",
            )
        else:
            since = self._away_since.strftime("%H:%M:%S")
            head = Text(
                f"No connection to Kafka since {since}, retrying ({now}): ", style="bold red"
            )
            head.append(self._why, style="not bold")
        return Lines(head, self._table if self._table is not None else Text(""))

    @contextmanager
    def _screen(self) -> Iterator[Callable[[RenderableType], None]]:
        """Yield a function that shows a frame: on the terminal's alternate screen, which leaves the
        scrollback alone and whose last frame is printed at the end; elsewhere, frame by frame.
        """
        console = Console()
        if not console.is_terminal:
            yield Console(width=WIDTH, no_color=True).print
            return
        try:
            # librdkafka's lines would disturb the screen, which reports a lost connection itself.
            rdkafka_log.disabled = True
            with Live(console=console, screen=True, auto_refresh=False) as live:
                yield lambda frame: live.update(frame, refresh=True)
        finally:
            rdkafka_log.disabled = False
            console.print(self._frame())
