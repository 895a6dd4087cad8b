"""Messages and answers that are much larger than they look."""

from __future__ import annotations

import gzip
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import msgpack
import zstandard

from bench import proc
from tests.chaos.destinations import failing
from tests.chaos.receiver import OK, Answer, response
from tests.chaos.rows import row
from tests.chaos.stage import Stage
from tests.support.kafka_topics import Header

# 64 MiB in flight in the parent and as much in its workers, the prefetch, and the interpreters.
_MOST_MIB = 500
_SAMPLE_INTERVAL_S = 0.1
_MILLION = 1_000_000


@row
def compressed_bombs(stage: Stage) -> None:
    """Messages that Kafka compressed thirtyfold are delivered within the memory's bound.

    Kafka's client decompresses a whole fetch at once, before any limit of this program applies; so
    a part of each message is random, or one fetch would hold the whole topic.

    Bound: 0
    """
    size = 16 << 20
    count = stage.scaled(60, 12)

    def value(name: bytes, _partition: int, _offset: int) -> bytes:
        header = b'{"event_id":"%b"}\n{"type":"attachment","length":%d}\n' % (name, size)
        noise = random.Random(name).randbytes(size // 30)
        return header + noise + bytes(size - len(noise))

    stage.producer_settings = {"compression.type": "zstd", "message.max.bytes": 2 * size}
    stage.fill(2, count, value=value, config={"max.message.bytes": 2 * size})
    stage.faults["bombs"] += count
    consumer = stage.start("--set", "connections=2", workers=1)
    with _peak(consumer.pid) as peak:
        stage.finish()
    if peak.mib > _MOST_MIB:
        stage.judge.problems.append(f"the consumer's processes took {peak.mib:.0f} MiB")


@row
def batch_bombs(stage: Stage) -> None:
    """Batches of 100 MB in 100 KB are delivered, and take three times their size for a moment.

    librdkafka refuses those of zstd over and over, unless its limit is raised.

    Bound: 0
    """
    size, each = 1 << 20, 100
    count = 2 * stage.scaled(2) * each

    def value(name: bytes, _partition: int, _offset: int) -> bytes:
        header = b'{"event_id":"%b"}\n{"type":"attachment","length":%d}\n' % (name, size)
        return header + bytes(size)

    stage.producer_settings = {
        "compression.type": "zstd",
        "batch.size": each * size,
        "message.max.bytes": 2 * each * size,
        "linger.ms": 10_000,
    }
    stage.fill(2, count, value=value)
    stage.faults["bombs"] += count // each
    consumer = stage.start(workers=1)
    with _peak(consumer.pid) as peak:
        stage.finish()
    # Kafka's client unpacks all batches of a fetch at once.
    if peak.mib > _MOST_MIB + 3 * count:
        stage.judge.problems.append(f"the consumer's processes took {peak.mib:.0f} MiB")
    if not stage.events("receive_limit_raised"):
        stage.judge.problems.append("no batch was larger than librdkafka's limit")


@row
def content_bombs(stage: Stage) -> None:
    """Messages that nest a million deep, name gigabytes or unpack to them, take no memory.

    What is invalid becomes a dead letter with its reason; what is valid passes as it came. So do
    messages with a million headers.

    Bound: 0
    """
    many: list[Header] = [("h", b"")] * _MILLION
    packed = zstandard.compress(bytes(1 << 30)), gzip.compress(bytes(1 << 28))
    invalid = [
        b"\x91" * _MILLION + b"\xc0",  # arrays in arrays
        b"\x81\xa1a" * _MILLION,
        b"\xdd\xff\xff\xff\xff",  # an array, a map and bytes, each of 2^32 - 1
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        *packed,
        b"\xc1",  # with many headers
    ]
    valid: list[Callable[[bytes], bytes]] = [
        lambda name: _relay_event(name, b'"extra":' + b"[" * _MILLION + b"]" * _MILLION),
        lambda name: _relay_event(name, b'"extra":' + b"9" * _MILLION),
        *(partial(_relay_event, attached=each) for each in packed),
        _relay_event,  # with many headers
    ]
    count = stage.scaled(4000, 400)
    places = stage.chance.sample(range(count // 2), len(invalid) + len(valid))
    bombs = dict(zip(places, [*map(_as_it_is, invalid), *valid], strict=True))
    with_headers = {places[len(invalid) - 1], places[-1]}

    def value(name: bytes, partition: int, offset: int) -> bytes:
        return _relay_event(name) if partition else bombs.get(offset, _relay_event)(name)

    stage.consumer = "ingest-events"
    stage.headers = lambda partition, offset: (
        many if not partition and offset in with_headers else None
    )
    largest = 16 << 20
    stage.producer_settings = {"message.max.bytes": largest}
    stage.fill(2, count, value=value, config={"max.message.bytes": largest})
    stage.faults["bombs"] += len(bombs)
    stage.dead_letters_expected = range(len(invalid), len(invalid) + 1)
    consumer = stage.start(workers=2)
    with _peak(consumer.pid) as peak:
        stage.finish()
    if peak.mib > _MOST_MIB:
        stage.judge.problems.append(f"the consumer's processes took {peak.mib:.0f} MiB")
    letters = [dict(each.headers() or ()) for each in stage.kafka.read(f"{stage.topic}-dlq")]
    if {each.get("dlq.reason") for each in letters} != {b"invalid_msgpack"}:
        stage.judge.problems.append(f"the reasons: {[each.get('dlq.reason') for each in letters]}")


def _as_it_is(value: bytes) -> Callable[[bytes], bytes]:
    return lambda _name: value


def _relay_event(name: bytes, members: bytes = b'"message":"m"', attached: bytes = b"") -> bytes:
    """Build an event as Relay writes it."""
    fields: dict[str, object] = {
        "type": "event",
        "event_id": name.decode(),
        "payload": b'{"event_id":"%b","type":"error",%b}' % (name, members),
        "start_time": 1_700_000_000,
        "project_id": 1,
    }
    if attached:
        attachment = {"id": "1", "name": "a", "content_type": "x", "data": attached, "chunks": 0}
        fields["attachments"] = [attachment]
    return bytes(msgpack.packb(fields))


@row
def answer_bombs(stage: Stage) -> None:
    """Answers without end, and answers of many megabytes, lose nothing and take no memory.

    Bound: each one, since all were accepted
    """
    endless = OK.partition(b"\r\n")[0] + b"\r\ntransfer-encoding: chunked\r\n\r\n"
    megabytes = 8 << 20
    answers = [
        Answer(data, accepts=True)
        for data in (
            endless + b"100000\r\n" + b"x" * 0x100000,
            b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999999\r\n\r\n" + b"x" * megabytes,
            b"HTTP/1.1 200 OK\r\nx: " + b"y" * megabytes,
            b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * (megabytes // 6),
            response("200 OK", "content-encoding: gzip", body=bytes(megabytes)),
            b"x" * megabytes,
        )
    ]
    stage.arguments += ("--set", "request_timeout_s=3", "--set", "connect_timeout_s=3")
    stage.upstream.script = failing(stage.seed, 0.005, answers)
    stage.fill(4, stage.scaled(20_000))
    consumer = stage.start(workers=2)
    with _peak(consumer.pid) as peak:
        stage.finish()
    stage.faults["bombs"] += stage.upstream.ambiguous
    stage.bound = stage.upstream.ambiguous
    if peak.mib > _MOST_MIB:
        stage.judge.problems.append(f"the consumer's processes took {peak.mib:.0f} MiB")


class _Peak:
    mib = 0.0


@contextmanager
def _peak(pid: int) -> Iterator[_Peak]:
    """Note the largest memory of a process and its children during the block."""
    peak = _Peak()
    done = threading.Event()

    def sample() -> None:
        while not done.wait(_SAMPLE_INTERVAL_S):
            with suppress(FileNotFoundError, ProcessLookupError, KeyError):
                pids = (pid, *proc.descendants(pid))
                peak.mib = max(peak.mib, sum(proc.memory(each).pss for each in pids) / 1024)

    thread = threading.Thread(target=sample, name="memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
