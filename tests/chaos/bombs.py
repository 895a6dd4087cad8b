"""Messages and answers that are much larger than they look."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bench import proc
from tests.chaos.destinations import failing
from tests.chaos.receiver import OK, Answer, response
from tests.chaos.rows import row
from tests.chaos.stage import Stage

# 64 MiB in flight in the parent and as much in its workers, the prefetch, and the interpreters.
_MOST_MIB = 500
_SAMPLE_INTERVAL_S = 0.1


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
