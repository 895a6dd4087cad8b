"""Partitions that are not read while too much of them is set aside."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

from arroyo.types import Partition, Topic

from consumer_fleet.kafka.chunk import Chunk
from consumer_fleet.kafka.full_partitions import FullPartitions
from consumer_fleet.kafka.open_offsets import OpenOffsets
from tests.support.records import chunk

FIRST, SECOND, THIRD = (Partition(Topic("t"), index) for index in range(3))


class Client:
    def __init__(self) -> None:
        self.paused: set[int] = set()

    def pause(self, targets: list[Any]) -> None:
        self.paused |= {each.partition for each in targets}

    def resume(self, targets: list[Any]) -> None:
        self.paused -= {each.partition for each in targets}


class Scene:
    def __init__(self) -> None:
        self.client = Client()
        self.open = OpenOffsets()
        self.partitions = FullPartitions(self.client, self.open)  # type: ignore[arg-type]  # by hand

    def update(self, *full: Partition, by_arroyo: tuple[Partition, ...] = ()) -> set[int]:
        self.open.full = frozenset(full)
        self.begin_poll(by_arroyo=by_arroyo)
        return self.client.paused

    def begin_poll(self, *ready: Chunk, by_arroyo: tuple[Partition, ...] = ()) -> bool:
        return self.partitions.begin_poll(ready, lambda: (FIRST, SECOND), by_arroyo)


def test_only_full_partitions_that_are_assigned_pause_and_they_resume() -> None:
    scene = Scene()
    assert scene.update(FIRST, THIRD) == {0}
    assert scene.update(SECOND) == {1}
    assert scene.update() == set()


def test_what_arroyo_has_paused_stays_paused_and_what_it_resumes_may_be_held_back() -> None:
    scene = Scene()
    scene.update(FIRST)
    scene.client.paused = {0, 1}
    assert scene.update(by_arroyo=(FIRST, SECOND)) == {0, 1}
    scene.update(FIRST)
    assert scene.partitions.readable([FIRST, SECOND]) == [SECOND]


def test_a_revoked_partition_is_not_left_paused() -> None:
    scene = Scene()
    scene.update(FIRST, SECOND)
    scene.partitions.forget([FIRST, THIRD])
    assert scene.client.paused == {1}


def test_chunks_that_were_read_before_are_passed_by_the_others() -> None:
    scene = Scene()
    held, other = (replace(chunk(0, 1), partition=each) for each in (FIRST, SECOND))
    ready = deque([held])
    assert scene.begin_poll(*ready)
    scene.update(FIRST)
    assert not scene.begin_poll(*ready)
    assert scene.partitions.take(ready) is None
    ready.append(other)
    assert scene.begin_poll(*ready)
    taken = scene.partitions.take(ready)
    assert taken is not None
    assert (taken.partition, list(ready)) == (SECOND, [held])
    scene.update()
    taken = scene.partitions.take(ready)
    assert taken is not None
    assert taken.partition == FIRST
    assert scene.partitions.take(ready) is None
