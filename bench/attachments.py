"""Attachments in chunks, beside a plain loop that posts the same bytes."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

import msgpack

from bench import backlog, measure
from bench.contenders import OURS, Contender, Ground, consumer_fleet, peer, start_consumer_fleet
from bench.measure import Speed

PLAIN = "consume() and one POST each"
CHUNKS = 8
_CHUNK_BYTES = 1 << 20
_EVENT_MIB = CHUNKS * _CHUNK_BYTES / (1 << 20)
_DIFFERENT = 16
_SAMPLE_INTERVAL_S = 0.1


def messages(events: int) -> Iterator[bytes]:
    """So many events, each with an attachment of 8 MiB, as Relay writes them."""
    blocks = [random.Random(each).randbytes(_CHUNK_BYTES) for each in range(_DIFFERENT)]
    for number in range(events):
        event_id, attachment_id = uuid.uuid4().hex, str(uuid.uuid4())
        common: dict[str, Any] = {"event_id": event_id, "project_id": 1}
        for index in range(CHUNKS):
            chunk = {"type": "attachment_chunk", "id": attachment_id, "chunk_index": index}
            payload = blocks[(number + index) % _DIFFERENT]
            yield msgpack.packb(chunk | common | {"payload": payload})
        attachment = {
            "id": attachment_id,
            "name": "a.bin",
            "attachment_type": "event.attachment",
            "chunks": CHUNKS,
            "size": CHUNKS * _CHUNK_BYTES,
        }
        payload = b'{"event_id":"%b","type":"error"}' % event_id.encode()
        whole = {"type": "event", "payload": payload, "start_time": 1_700_000_000}
        yield msgpack.packb(whole | common | {"attachments": [attachment]})


def fill(ground: Ground, topic: str, gigabytes: float) -> int:
    """Create a topic with so much, and return the number of its events."""
    events = max(4, round(gigabytes * 1024 / _EVENT_MIB))
    backlog.write(ground.kafka, topic, messages(events))
    return events


def contenders() -> list[Contender]:
    ours = consumer_fleet(1, messages="ingest-attachments", parts=CHUNKS + 1)
    return [ours, peer(PLAIN, "peer_loop")]


def speed(ground: Ground, contender: Contender, topic: str, events: int) -> Speed:
    """As `measure.speed`, with a rate in MB/s. The plain loop posts each message."""
    requests = events if contender.name == OURS else events * (CHUNKS + 1)
    found = measure.speed(ground, contender, topic, requests)
    megabytes = events * CHUNKS * _CHUNK_BYTES / 1e6 / requests
    cpu = {role: each / megabytes for role, each in found.cpu_us.items()}
    return Speed(found.rate * megabytes, cpu)


@dataclass(frozen=True, slots=True)
class Growth:
    """The largest RSS in MiB by process: during the first gigabyte, and during each half of all."""

    gigabytes: int
    first: dict[str, float]
    earlier: dict[str, float]
    later: dict[str, float]


def memory(ground: Ground, gigabytes: int, workers: int, progress: Callable[[str], None]) -> Growth:
    """Carry so much in one run, a gigabyte at a time: what is delivered is deleted."""
    topic, events, seen = "attachments-memory", 0, []
    ground.sink.reset()
    ground.kafka.create_topic(topic, backlog.PARTITIONS)
    given = ("--topic", "ingest-attachments")
    with start_consumer_fleet(ground, topic, workers, *given) as running:
        for _ in range(gigabytes):
            with _largest_rss(running.pid) as largest:
                part = round(1024 / _EVENT_MIB)
                backlog.append(ground.kafka, topic, messages(part))
                events += part
                measure.wait_for(ground.sink, running, events)
            seen.append(largest)
            sizes = ", ".join(f"{name} {mib:.0f} MiB" for name, mib in largest.items())
            progress(f"{len(seen)} GB, RSS at most: {sizes}")
            ground.kafka.delete_records(topic, ground.kafka.end_offsets(topic))
    middle = len(seen) // 2
    halves = [
        {name: max(each[name] for each in half) for name in seen[0]}
        for half in (seen[:middle] or seen, seen[middle:])
    ]
    return Growth(gigabytes, seen[0], *halves)


@contextmanager
def _largest_rss(pid: int) -> Iterator[dict[str, float]]:
    """Sample the processes while the block runs; afterwards, the value is complete."""
    largest: dict[str, float] = {}
    done = Event()

    def sample() -> None:
        while not done.wait(_SAMPLE_INTERVAL_S):
            for name, each in measure.memory_by_name(pid).items():
                mib = each.rss / 1024
                role = "parent" if name == "parent" else "worker"
                largest[role] = max(mib, largest.get(role, 0.0))

    thread = Thread(target=sample)
    thread.start()
    try:
        yield largest
    finally:
        done.set()
        thread.join()
