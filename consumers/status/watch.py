"""``consumer status --watch``: a live screen that outlives Kafka's absence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console, RenderableType
from rich.console import Group as Lines
from rich.live import Live
from rich.text import Text

from consumers.status.findings import Judge, notes
from consumers.status.sampler import Sampler
from consumers.status.table import WIDTH, render
from fleet.errors import KafkaUnreachable
from fleet.kafka.client_log import rdkafka_log

_TURN_S = 0.2


class Watch:
    """Looks from a thread of its own: a client that waits for an absent broker can't be
    interrupted, and Ctrl-C is to end at once. ``sampler`` belongs to that thread from here on.
    """

    def __init__(
        self, sampler: Sampler, judge: Judge, interval_s: float, *, partitions: bool
    ) -> None:
        self._sampler = sampler
        self._judge = judge
        self._interval_s = interval_s
        self._partitions = partitions
        self._stop = threading.Event()
        self._fresh = threading.Event()
        self._error: Exception | None = None
        self._table: RenderableType | None = None
        self._away_since: datetime | None = None
        self._why = ""

    def run(self) -> None:
        """Blocks until Ctrl-C. Raises what is not a passing absence of Kafka."""
        # A daemon: the interpreter doesn't wait at its end for a client that waits for a broker.
        looker = threading.Thread(target=self._look_on, name="status", daemon=True)
        looker.start()
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
            looker.join(1.0)
        if self._error is not None:
            raise self._error

    def _look_on(self) -> None:
        try:
            self._look_until_stopped()
        except Exception as error:
            self._error = error  # raised again by the main thread
            self._fresh.set()
        finally:
            self._sampler.close()

    def _look_until_stopped(self) -> None:
        while not self._stop.is_set():
            try:
                report = self._sampler.look()
                findings = self._judge.findings(report)
                self._table = render(report, findings, notes(report), partitions=self._partitions)
                self._away_since = None
            except KafkaUnreachable as error:
                self._away_since = self._away_since or datetime.now()
                self._why = str(error)
            self._fresh.set()
            self._stop.wait(self._interval_s)

    def _frame(self) -> RenderableType:
        now = datetime.now().strftime("%H:%M:%S")
        if self._away_since is None:
            head = Text(f"consumer status at {now}, Ctrl-C ends", style="dim")
        else:
            since = self._away_since.strftime("%H:%M:%S")
            head = Text(f"Kafka is away since {since}, trying again ({now}): ", style="bold red")
            head.append(self._why, style="not bold")
        return Lines(head, self._table if self._table is not None else Text(""))

    @contextmanager
    def _screen(self) -> Iterator[Callable[[RenderableType], None]]:
        """What shows a frame: the terminal's second screen, which leaves the scrollback alone and
        whose last frame is printed at the end; elsewhere, frame by frame.
        """
        console = Console()
        if not console.is_terminal:
            yield Console(width=WIDTH, no_color=True).print
            return
        try:
            # librdkafka's lines would tear the screen; it says itself that Kafka is away.
            rdkafka_log.disabled = True
            with Live(console=console, screen=True, auto_refresh=False) as live:
                yield lambda frame: live.update(frame, refresh=True)
        finally:
            rdkafka_log.disabled = False
            console.print(self._frame())
