"""The one run: its order, its duties, and how it ends."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from arroyo.types import Partition
from rich.console import Console

from consumer_fleet.bootstrap.destinations import capture_options
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.capture.counts import DestinationStatus
from consumer_fleet.capture.transport import MultiplexingTransport, build_transport
from consumer_fleet.errors import FleetError, KafkaUnreachable, RecordingError
from consumer_fleet.kafka.chunk import Chunk
from consumer_fleet.kafka.open_offsets import OpenOffsets
from consumer_fleet.run.parts import Steps
from consumer_fleet.run.progress import Progress
from consumer_fleet.run.run import Duty, Lane, Run
from consumer_fleet.run.shutdown import Shutdown
from consumer_fleet.run.sources import LocalSource
from consumer_fleet.testing.captured import InMemoryDestinations
from consumer_fleet.testing.replay import InMemoryRejects, InProcessWorker
from consumer_fleet.worker.multiprocess_worker import WorkerSpec
from tests.support.codecs import obey
from tests.support.records import TOPIC, chunk

BOTH = [Partition(TOPIC, 0), Partition(TOPIC, 1)]


class Rejects(InMemoryRejects):
    closed = 0

    def close(self, timeout_s: float) -> None:
        self.closed += 1


class SlowSource(LocalSource):
    """Becomes ready when it may; until then it blocks, as a request to a broker does."""

    def __init__(self, chunks: Iterator[Chunk | None], *, is_slow: bool) -> None:
        super().__init__(TOPIC.name, 4, chunks)
        self.may_be_ready = threading.Event()
        self.is_ready = False
        if not is_slow:
            self.may_be_ready.set()

    def wait(self, pause: Callable[[float], None], given_up: Callable[[], bool]) -> None:
        self.is_ready = self.may_be_ready.wait(30)


class Scene:
    """A run whose worker, destination and rejected messages are in this process's memory."""

    def __init__(
        self,
        chunks: Iterator[Chunk | None],
        *,
        is_slow: bool = False,
        duties: list[Duty] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.errors: list[BaseException] = []
        self.destinations = InMemoryDestinations(None, self.errors.append)
        self.rejects = Rejects()
        self.source = SlowSource(chunks, is_slow=is_slow)
        options = Options.model_validate({"upstream_dsn": "http://key@upstream.invalid/1"})
        self.lane = Lane(self.source, self._open_rejects)
        self.run = Run(
            [self.lane],
            Steps(
                WorkerSpec(obey, options),
                1,
                math.inf,
                1 << 20,
                partial(InProcessWorker, build=self._build_transport),
            ),
            Shutdown(5.0),
            duties=duties or [],
            duty_interval_s=0.0,
            progress=progress,
        )
        self.opened = 0

    def _build_transport(self, options: Options) -> MultiplexingTransport:
        return build_transport(capture_options(options), self.destinations.open_posts)

    def _open_rejects(self) -> Rejects:
        assert self.source.is_ready
        self.opened += 1
        return self.rejects


def test_it_ends_by_itself_when_everything_is_settled_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = Progress(Console(file=io.StringIO()), live=False, rejected_as="rejected")
    scene = Scene(iter([chunk(0, 3), chunk(3, 1, value=b"reject")]), progress=progress)
    scene.run.run()
    assert scene.run.is_complete
    assert len(scene.destinations.accepted["upstream"]) == 3
    assert [letter.reason for letter in scene.rejects.kept] == ["bad_message"]
    assert scene.source.settled == {0: 4}
    assert (scene.opened, scene.rejects.closed) == (1, 1)
    assert "delivered 3, filtered 0, rejected 1 (bad_message 1)" in capsys.readouterr().out


def test_duties_are_done_while_the_source_is_not_ready_and_in_the_loop() -> None:
    ready: list[bool] = []

    def duty(_run: Run) -> None:
        ready.append(scene.source.is_ready)
        if len(ready) == 3:
            scene.source.may_be_ready.set()

    scene = Scene(iter([chunk(0, 1)]), is_slow=True, duties=[duty])
    scene.run.run()
    assert ready[:3] == [False, False, False]
    assert ready[-1]
    assert scene.run.in_flight_bytes == 0


def test_a_stop_while_the_source_is_not_ready_opens_nothing() -> None:
    scene = Scene(
        iter([chunk(0, 1)]), is_slow=True, duties=[lambda run: run.shutdown.request("a test")]
    )
    scene.run.run()
    assert not scene.source.is_ready, "it was not waited for"
    scene.source.may_be_ready.set()
    assert (scene.opened, scene.rejects.closed, scene.run.is_complete) == (0, 0, False)
    assert scene.run.pool.pids() == []


def test_a_source_that_is_not_there_ends_the_run_with_its_error() -> None:
    scene = Scene(iter([]))

    def wait(pause: Callable[[float], None], given_up: Callable[[], bool]) -> None:
        raise KafkaUnreachable("no broker")

    scene.source.wait = wait  # type: ignore[method-assign]  # for this test
    with pytest.raises(KafkaUnreachable, match="no broker"):
        scene.run.run()
    assert scene.run.pool.pids() == []


def test_an_error_of_the_source_ends_it_after_what_came_before() -> None:
    def chunks() -> Iterator[Chunk]:
        yield chunk(0, 2)
        raise RecordingError("cut off")

    scene = Scene(chunks())
    scene.run.run()
    assert scene.source.settled == {0: 2}
    assert not scene.run.is_complete
    with pytest.raises(RecordingError, match="cut off"):
        scene.run.shutdown.raise_failure()


def test_a_stop_request_that_left_nothing_is_complete() -> None:
    requested: list[int] = []

    def stop_at_the_end(run: Run) -> None:
        if scene.source.consumer is not None and scene.source.consumer.at_end and not requested:
            requested.append(run.pool.outcomes.total)
            run.shutdown.request("a test")

    scene = Scene(iter([chunk(0, 2)]), duties=[stop_at_the_end])
    scene.run.run()
    assert scene.source.settled == {0: 2}
    assert scene.run.is_complete


def test_workers_are_stopped_and_rejected_messages_kept_whatever_is_raised() -> None:
    class Surprise(Exception):
        pass

    def fail(run: Run) -> None:
        if run.pool.outcomes.total:
            raise Surprise

    scene = Scene(iter([chunk(0, 1, value=b"reject"), None]), duties=[fail])
    with pytest.raises(Surprise):
        scene.run.run()
    assert scene.rejects.closed == 1
    assert scene.run.pool.pids() == []


def test_a_run_is_held_up_while_rejected_messages_are_not_taken() -> None:
    held_up: list[set[Partition]] = []
    scene = Scene(
        iter([chunk(0, 1)]), duties=[lambda run: held_up.append(run.lanes[0].held_up(BOTH))]
    )
    scene.rejects.blocked = True
    scene.run.run()
    assert held_up[-1] == set(BOTH)


class Delivering:
    """What a lane knows of its messages: the destinations, and the oldest of each partition."""

    def __init__(self, *statuses: DestinationStatus) -> None:
        self.open_offsets = OpenOffsets()
        self.has_room = True
        self.given = list(statuses)
        self.oldest = {BOTH[0]: 5, BOTH[1]: 8}

    def statuses(self) -> list[DestinationStatus]:
        return self.given

    def oldest_unsettled(self, partition: Partition) -> int | None:
        return self.oldest.get(partition)

    def held_up(self, *, has_projects: bool = True) -> set[Partition]:
        lane = Lane(SlowSource(iter([]), is_slow=False), Rejects)
        lane.share = lane.pipeline = self  # type: ignore[assignment]  # a stand-in for both
        lane._passes_outages = has_projects
        return lane.held_up(BOTH)


def closed(**more: Any) -> DestinationStatus:
    return DestinationStatus("upstream:7", "paused", 0, 0, 0, 3, "HTTP 401", **more)


def test_of_many_destinations_one_that_is_down_holds_up_only_what_waits_for_it() -> None:
    waits = {"events/0": [5, 9], "events/1": [3, 9]}
    well = DestinationStatus("upstream", "open", 9, 0, 0, 0, "")
    scene = Delivering(closed(keeps_back=waits), well)
    assert scene.held_up() == {BOTH[0]}
    scene.oldest[BOTH[0]] = 6
    assert scene.held_up() == set(), "its oldest message is for another one"


def test_a_partition_that_is_full_of_what_waits_for_a_destination_is_held_up() -> None:
    scene = Delivering()
    scene.open_offsets.full = frozenset([BOTH[1], Partition(TOPIC, 9)])
    assert scene.held_up() == {BOTH[1]}


def test_a_required_destination_that_is_down_holds_up_all_where_nothing_passes_it() -> None:
    assert Delivering(closed()).held_up(has_projects=False) == set(BOTH)
    full = Delivering(closed())
    full.has_room = False
    assert full.held_up() == set(BOTH)


def test_a_best_effort_destination_that_is_down_holds_nothing_up() -> None:
    assert Delivering(closed(required=False)).held_up(has_projects=False) == set()


def test_the_first_failure_counts() -> None:
    scene = Scene(iter([]))
    scene.run.shutdown.fail(FleetError("first"))
    scene.run.shutdown.fail(FleetError("second"))
    scene.run.run()
    assert scene.opened == 0
    with pytest.raises(FleetError, match="first"):
        scene.run.shutdown.raise_failure()


def test_a_partition_that_its_source_does_not_have_ends_the_run() -> None:
    scene = Scene(iter([Chunk(Partition(TOPIC, 4), (), 0)]))
    scene.run.run()
    assert isinstance(scene.run.shutdown.failure, RecordingError)
