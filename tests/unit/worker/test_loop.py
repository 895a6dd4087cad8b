"""What a worker says of the messages that wait in it."""

from __future__ import annotations

from typing import Any

import pytest

from consumer_fleet.capture.counts import DestinationStatus
from consumer_fleet.capture.delivery import Delivery
from consumer_fleet.capture.gate import Parcel
from consumer_fleet.worker.loop import RunningTask, _note_kept_back
from consumer_fleet.worker.protocol import Task
from tests.support.capturing import RecordedReceipt, event


class Worker:
    """The part of the loop that a task needs."""

    class shared:  # noqa: N801 - an attribute
        receipts = bytearray(10)


class Closed:
    def __init__(self, *recipients: tuple[Any, int]) -> None:
        self.recipients = recipients

    def keeps_back(self) -> list[Parcel]:
        return [Parcel(event(), recipient, number, 0) for recipient, number in self.recipients]


@pytest.mark.parametrize("destinations", [1, 2])
def test_a_status_names_the_positions_of_what_a_closed_destination_keeps_back(
    destinations: int,
) -> None:
    task = Task(1, "events", 3, 0, [4, 6], [70, 90], [None] * 2, [b""] * 2, [], [], {}, {}, None)
    running = RunningTask(task, Worker(), None)  # type: ignore[arg-type]  # stand-ins
    recipients: list[tuple[Any, int]] = [(running, 4), (running, 6)]
    if destinations == 2:
        recipients = [(Delivery(*each, [], None), 0) for each in recipients]
    status = DestinationStatus("upstream:7", "paused", 0, 0, 0, 2, "HTTP 401")
    own_event = RecordedReceipt()
    _note_kept_back(Closed(*recipients, (own_event, 0)), status)  # type: ignore[arg-type]
    assert status.keeps_back == {"events/3": [70, 90]}
