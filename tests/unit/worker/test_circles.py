"""What follows from copies: a line in the log, and a pause where they are many."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from consumer_fleet.capture.counts import SentIds
from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.envelope import members_at
from consumer_fleet.capture.routes import Route
from consumer_fleet.worker.circles import CircleGuard
from consumer_fleet.worker.protocol import Task
from tests.support.capturing import event, event_ids
from tests.support.clock import ManualClock


def task(offset: int, value: bytes = b"") -> Task:
    return Task(1, "topic", 3, 0, [0], [offset], [None], [value], [], [], {}, {})


class FakeDestination:
    def __init__(self, name: str, dsn: str) -> None:
        self.name, self.dsn = name, Dsn.parse(dsn)
        self.pauses: list[str] = []

    def pause(self, reason: str, what_to_do: str, at_least_s: float) -> None:
        assert at_least_s == 60
        self.pauses.append(reason)


class Scene:
    """A transport with a destination for project 42 and one for all others."""

    def __init__(self) -> None:
        self.count = 0
        self.upstream = FakeDestination("upstream", "https://key@sentry.example/1")
        self.other = FakeDestination("upstream:42", "https://key@other.example/1")
        self.destinations = [self.upstream, self.other]
        self.clock = ManualClock()
        transport: Any = self
        self.guard = CircleGuard(SentIds(), transport, self.clock)

    def route_of(self, project_id: int | None) -> Route:
        destination: Any = self.other if project_id == 42 else self.upstream
        return Route([destination], [])

    def accepted(self) -> list[int]:
        return [self.count]

    def read(self, event_id: str, offset: int, project_id: int | None = None) -> None:
        envelope = event(event_id)._replace(project_id=project_id)
        if self.guard.has_come_back(envelope, offset):
            self.guard.skipped(task(offset), 0, envelope)
        else:
            self.count += 1


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_circle_of_all_events_pauses_and_says_why(scene: Scene) -> None:
    for turn in range(3):
        for number, each in enumerate(event_ids(20)):
            scene.read(each, 20 * turn + number)
    assert scene.upstream.pauses == ["circle: 20 of 60 envelopes had been sent before"]


def test_it_pauses_again_after_as_many_more(scene: Scene) -> None:
    for turn in range(6):
        for number, each in enumerate(event_ids(40)[20 * (turn // 3) :][:20]):
            scene.read(each, 20 * turn + number)
    assert len(scene.upstream.pauses) == 2


def test_copies_among_much_else_are_skipped_without_a_pause(scene: Scene) -> None:
    ids = event_ids(5000)
    for offset, each in enumerate(ids):
        scene.read(each, 3 * offset)
        if offset % 10 == 0:
            scene.read(each, 3 * offset + 1)
            scene.read(each, 3 * offset + 2)
    assert scene.count == 5500
    assert scene.upstream.pauses == []


def test_one_client_that_repeats_an_event_pauses_nothing(scene: Scene) -> None:
    for offset in range(1000):
        scene.read("a" * 32, offset)
    assert scene.count == 2
    assert scene.upstream.pauses == []


def test_marked_envelopes_pause_the_destination_that_marked_them(scene: Scene) -> None:
    members = members_at(0, str(scene.other.dsn), scene.other.dsn.mark)
    for offset in range(20):
        scene.guard.skipped(task(offset, members + b"}\n{}"), 0, None)
    assert (len(scene.upstream.pauses), len(scene.other.pauses)) == (0, 1)


def test_a_circle_of_one_project_pauses_no_other(scene: Scene) -> None:
    for offset, each in enumerate(event_ids(20) * 3):
        scene.read(each, offset, project_id=42)
    assert (len(scene.upstream.pauses), len(scene.other.pauses)) == (0, 1)


def test_an_id_in_three_projects_is_three_events(scene: Scene) -> None:
    for offset, each in enumerate((42, None, 43)):
        scene.read("a" * 32, offset, each)
    assert scene.count == 3


def test_it_is_logged_once_a_minute_with_the_hosts(scene: Scene) -> None:
    with capture_logs() as lines:
        for offset in range(100):
            scene.read("a" * 32, offset)
        scene.clock.now += 61
        scene.read("a" * 32, 100)
    assert [line["event"] for line in lines] == ["circle", "circle"]
    assert lines[0]["destinations"] == {"upstream": "sentry.example"}
    assert (lines[0]["offset"], lines[0]["skipped"]) == (2, 1)
    assert lines[1]["skipped"] == 98
