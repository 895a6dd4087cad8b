"""What the suites over the parts of delivery share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumer_fleet.capture.delivery_loop import DeliveryLoop
from tests.support.capturing import delivery_loop
from tests.support.clock import ManualClock
from tests.support.scripted_receiver import ScriptedReceiver


@pytest.fixture
def loop() -> Iterator[DeliveryLoop]:
    """The test drives it."""
    with delivery_loop() as made:
        yield made


@pytest.fixture
def clock() -> ManualClock:
    """The time of ``clocked_loop``."""
    return ManualClock(1000.0)


@pytest.fixture
def clocked_loop(clock: ManualClock) -> Iterator[DeliveryLoop]:
    """A loop in which no wait ends before the test moves ``clock``."""
    with delivery_loop(clock) as made:
        yield made


@pytest.fixture
def receiver() -> Iterator[ScriptedReceiver]:
    """Accepts everything until the test scripts its answers."""
    with ScriptedReceiver() as started:
        yield started
