"""A run of several topics: each has its own part of the workers, and all end together."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from functools import partial

import pytest
from arroyo.types import Partition, Topic
from rich.console import Console

from consumer_fleet.bootstrap.destinations import capture_options
from consumer_fleet.bootstrap.logging_setup import CLEAR_BELOW
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.capture.transport import MultiplexingTransport, build_transport
from consumer_fleet.errors import RecordingError
from consumer_fleet.kafka.chunk import Chunk
from consumer_fleet.run.parts import Steps
from consumer_fleet.run.progress import Progress
from consumer_fleet.run.run import Lane, Run
from consumer_fleet.run.shutdown import Shutdown
from consumer_fleet.run.sources import LocalSource
from consumer_fleet.testing.captured import InMemoryDestinations
from consumer_fleet.testing.replay import InMemoryRejects, InProcessWorker
from consumer_fleet.worker.decoding import ByTopic
from consumer_fleet.worker.multiprocess_worker import WorkerSpec
from tests.support.codecs import obey
from tests.support.records import record

TOPICS = ("one", "two", "three")


def chunks(topic: str, count: int, value: bytes = b"value") -> Iterator[Chunk]:
    for offset in range(count):
        message = record(offset, value)
        yield Chunk(Partition(Topic(topic), 0), (message,), message.size)


class Scene:
    def __init__(
        self, sources: dict[str, Iterator[Chunk | None]], progress: Progress | None = None
    ) -> None:
        self.errors: list[BaseException] = []
        self.destinations = InMemoryDestinations(None, self.errors.append)
        self.rejects = {name: InMemoryRejects() for name in sources}
        self.sources = {name: LocalSource(name, 1, each) for name, each in sources.items()}
        options = Options.model_validate(
            {"topic": list(sources), "upstream_dsn": "http://key@upstream.invalid/1"}
        )
        self.run = Run(
            [
                Lane(source, partial(self._open, name), name=name)
                for name, source in self.sources.items()
            ],
            Steps(
                WorkerSpec(ByTopic(dict.fromkeys(sources, obey)), options),
                1,
                math.inf,
                1 << 20,
                partial(InProcessWorker, build=self._build_transport),
            ),
            Shutdown(5.0),
            duty_interval_s=0.0,  # progress is shown at the first turn
            progress=progress,
        )

    def _open(self, name: str) -> InMemoryRejects:
        return self.rejects[name]

    def _build_transport(self, options: Options) -> MultiplexingTransport:
        return build_transport(capture_options(options), self.destinations.open_posts)

    def settled(self) -> dict[str, dict[int, int]]:
        return {name: source.settled for name, source in self.sources.items()}


def test_each_topic_is_settled_for_itself_and_the_run_ends_with_the_last(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, height=25)
    scene = Scene(
        {"one": chunks("one", 3), "two": chunks("two", 2, b"reject"), "three": chunks("three", 0)},
        Progress(console, live=True, has_topics=True),
    )
    scene.run.run()
    assert scene.run.is_complete
    assert len(scene.destinations.accepted["upstream"]) == 3
    assert [letter.origin.topic for letter in scene.rejects["two"].kept] == ["two", "two"]
    assert not scene.rejects["one"].kept
    assert scene.settled() == {"one": {0: 3}, "two": {0: 2}, "three": {}}
    said = capsys.readouterr().out
    assert "two: delivered 0, filtered 0, dead-lettered 2 (bad_message 2)\n" in said
    assert "delivered 3, filtered 0, dead-lettered 2 (bad_message 2) in " in said
    tables = screen.getvalue().split(CLEAR_BELOW)
    assert tables[-1] == "", "the table is cleared"
    first = tables[1].split("\n")
    assert [line.split(" ")[0] for line in first[1:4]] == list(TOPICS)
    assert first[-1].endswith("\x1b[4A\r"), "a log line takes the place of the table"


def test_an_error_of_one_topic_ends_the_run_after_what_came_before() -> None:
    def broken() -> Iterator[Chunk]:
        yield from chunks("two", 2)
        raise RecordingError("cut off")

    def endless() -> Iterator[None]:
        while True:
            yield None

    scene = Scene({"one": endless(), "two": broken(), "three": chunks("three", 1)})
    scene.run.run()
    assert not scene.run.is_complete
    with pytest.raises(RecordingError, match="cut off"):
        scene.run.shutdown.raise_failure()


def test_a_bug_in_one_topic_closes_all_of_them_and_stops_the_workers() -> None:
    class Surprise(Exception):
        pass

    def surprising() -> Iterator[Chunk]:
        yield from chunks("two", 1)
        raise Surprise

    scene = Scene({"one": chunks("one", 1), "two": surprising(), "three": chunks("three", 1)})
    with pytest.raises(Surprise):
        scene.run.run()
    assert all(lane.consumer is not None and lane.consumer.closed for lane in scene.run.lanes)
    assert scene.run.pool.pids() == []
