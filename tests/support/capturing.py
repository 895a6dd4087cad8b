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
    """A receipt that records its calls."""

    def __init__(self) -> None:
        self.accepted_by: list[str] = []
        self.settlements: list[RejectedMessage | None] = []

    @property
    def abandoned(self) -> bool:
        return False

    def accepted(self, destination: str) -> None:
        self.accepted_by.append(destination)

    def settled(self, rejection: RejectedMessage | None) -> None:
        self.settlements.append(rejection)


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
    """Take turns for a while, to show that something does not happen."""
    deadline = time.monotonic() + duration_s
    while (left_s := deadline - time.monotonic()) > 0:
        run_once(left_s)


def event(event_id: str = "a" * 32, *more: Item) -> Envelope:
    return build(event_id, [make_item("event", b'{"message":"hi"}'), *more])


def event_ids(number: int) -> list[str]:
    return [f"{index:032x}" for index in range(number)]
