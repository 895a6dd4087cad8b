"""Destinations in front of scripted receivers, driven by the test's own thread."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from consumer_fleet.capture.delivery_loop import DeliveryLoop
from consumer_fleet.capture.destination import Destination
from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.envelope import Envelope, Item, build, make_item
from consumer_fleet.capture.held import Held
from consumer_fleet.capture.options import DestinationOptions
from consumer_fleet.errors import RejectedMessage


class CountedMetrics:
    """A replacement for ``consumer_fleet.metrics.incr`` that counts by name and tags."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()

    def incr(
        self,
        key: str,
        instance: str | None = None,
        tags: Mapping[str, str] | None = None,
        amount: int = 1,
    ) -> None:
        self.counts[key, tuple(sorted((tags or {}).items()))] += amount

    def total(self, key: str, **tags: str) -> int:
        return sum(
            amount
            for (name, known), amount in self.counts.items()
            if name == key and tags.items() <= dict(known).items()
        )


class RecordedReceipt:
    """Remembers what became of one captured envelope."""

    abandoned = False
    can_hold = True

    def __init__(self) -> None:
        self.accepted_by: list[str] = []
        self.settlements: list[RejectedMessage | None] = []
        self.holds: list[Held] = []
        self.drops = 0
        self.given_up_times = 0
        self.draining = False

    def held(self, number: int, held: Held) -> None:
        self.holds.append(held)

    def dropped(self, number: int) -> None:
        self.drops += 1

    def given_up(self, number: int) -> None:
        self.given_up_times += 1

    def accepted(self, number: int, destination: str) -> None:
        self.accepted_by.append(destination)

    def done(self, number: int, rejection: RejectedMessage | None) -> None:
        self.settlements.append(rejection)


class _Callback:
    """A recipient of one envelope, as a function."""

    draining = False
    can_hold = False

    def __init__(
        self,
        on_done: Callable[[RejectedMessage | None], None],
        is_abandoned: Callable[[], bool],
    ) -> None:
        self._on_done = on_done
        self._is_abandoned = is_abandoned

    @property
    def abandoned(self) -> bool:
        return self._is_abandoned()

    def done(self, _number: int, rejection: RejectedMessage | None) -> None:
        self._on_done(rejection)

    def held(self, _number: int, held: Held) -> None:
        """Never called: it can't hold."""

    def given_up(self, _number: int) -> None:
        """Never called: it does not drain."""


def send(
    destination: Destination,
    envelope: Envelope,
    on_done: Callable[[RejectedMessage | None], None],
    is_abandoned: Callable[[], bool] = lambda: False,
) -> None:
    """Send one envelope; ``on_done`` gets None once it is accepted, else the rejection."""
    destination.send(envelope, _Callback(on_done, is_abandoned), 0)


@contextmanager
def delivery_loop(clock: Callable[[], float] = time.monotonic) -> Iterator[DeliveryLoop]:
    loop = DeliveryLoop(clock)
    try:
        yield loop
    finally:
        loop.close()


def make_destination(
    loop: DeliveryLoop, dsn: str, name: str = "upstream", **options: Any
) -> Destination:
    """Create a destination whose jitter always gives the shortest wait."""
    settings: dict[str, Any] = {"random": lambda: 0.0, "incr": CountedMetrics().incr, **options}
    names = {each.name for each in fields(DestinationOptions)} & settings.keys()
    own = DestinationOptions(name, Dsn.parse(dsn), **{each: settings.pop(each) for each in names})
    return Destination(own, loop, **settings)


def drive_until(
    run_once: Callable[[float], None], predicate: Callable[[], bool], timeout_s: float = 15.0
) -> None:
    """Take turns until the predicate holds; fails after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not predicate():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        run_once(0.05)


def drive_for(run_once: Callable[[float], None], duration_s: float) -> None:
    """Take turns for a while, at least one, to show that something does not happen."""
    deadline = time.monotonic() + duration_s
    run_once(duration_s)
    while (left_s := deadline - time.monotonic()) > 0:
        run_once(left_s)


def has_retried(destination: Destination, times: int) -> Callable[[], bool]:
    """A predicate for `drive_until`: that many failures were dealt with."""
    return lambda: destination.status().retried >= times


def event(event_id: str = "a" * 32, *more: Item) -> Envelope:
    return build(event_id, [make_item("event", b'{"message":"hi"}'), *more])


def event_ids(number: int) -> list[str]:
    return [f"{index:032x}" for index in range(number)]
