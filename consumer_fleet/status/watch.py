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


class Sampling:
    """Calls ``take`` at intervals, in a thread of its own: a client that waits for an absent broker
    can't be interrupted, and a request to end must be obeyed at once. ``sampler`` belongs to that
    thread from ``start`` on; ``error`` is what ended it.
    """

    def __init__(self, sampler: Sampler, take: Callable[[], None], interval_s: float) -> None:
        self._sampler = sampler
        self._take = take
        self._interval_s = interval_s
        self._stopping = threading.Event()
        # A daemon: the interpreter must not wait for a client that waits for a broker.
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)
        self.error: Exception | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Wait for its end, but not long."""
        self._stopping.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._take()
                self._stopping.wait(self._interval_s)
        except Exception as error:
            self.error = error  # raised again by the main thread
        finally:
            self._sampler.close()


class Watch:
    """Draws what ``Sampling`` finds."""

    def __init__(
        self, sampler: Sampler, judge: Judge, interval_s: float, *, partitions: bool
    ) -> None:
        self._sampler = sampler
        self._judge = judge
        self._interval_s = interval_s
        self._partitions = partitions
        self._history = History(_SAMPLES_KEPT)
        self._sampling = Sampling(sampler, self._sample, interval_s)
        self._fresh = threading.Event()
        self._table: RenderableType | None = None
        self._away_since: datetime | None = None
        self._why = ""

    def run(self) -> None:
        """Block until Ctrl-C. Raises any error but an absence of Kafka, which may pass."""
        self._sampling.start()
        try:
            with self._screen() as show:
                while self._sampling.error is None:
                    if self._fresh.wait(_TURN_S):
                        self._fresh.clear()
                        show(self._frame())
        except KeyboardInterrupt:
            pass
        finally:
            self._sampling.stop()
        if self._sampling.error is not None:
            raise self._sampling.error

    def _sample(self) -> None:
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
