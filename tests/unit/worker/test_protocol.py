"""The frames on a worker's pipe: what goes in comes out, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest

from consumer_fleet.capture.counts import DestinationStatus
from consumer_fleet.capture.held import Held
from consumer_fleet.worker import protocol
from consumer_fleet.worker.protocol import Kind, Receipts, Task

BINARY = bytes(range(256))


def task(values: list[bytes | None], timestamp_ms: int | None = 0, **more: Any) -> Task:
    numbers = list(range(len(values)))
    timestamps_ms = [timestamp_ms] * len(values)
    columns = Task(2**40, "töpic", 3, 500, numbers, numbers, timestamps_ms, values, [], [], {}, {})
    return columns._replace(**more)


@pytest.mark.parametrize("value", [None, b"", BINARY, "ünïcode".encode(), b"\xff\xfe"])
@pytest.mark.parametrize("timestamp_ms", [None, 0, 1_700_000_000_000])
def test_a_task_arrives_as_it_was_sent(value: bytes | None, timestamp_ms: int | None) -> None:
    sent = task(
        [value, BINARY],
        timestamp_ms,
        numbers=[0, 7],
        offsets=[2**62, 0],
        accepted_by={7: ["upstream", "saas"]},
        held={7: Held("failing", "saas", "HTTP 500", 0.0, ["upstream"]).packed()},
    )
    kind, fields = protocol.decode(protocol.encode_task(sent))
    assert kind is Kind.TASK
    assert protocol.as_task(fields) == sent


def test_a_tombstone_is_not_an_empty_value_on_the_other_side() -> None:
    _, fields = protocol.decode(protocol.encode_task(task([None, b""])))
    assert protocol.as_task(fields).values == [None, b""]


def test_receipts_arrive_as_they_were_sent() -> None:
    _, fields = protocol.decode(
        protocol.encode_receipts(Receipts(9, [(3, "tombstone")], [(4, "http_400", "nö")]))
    )
    back = protocol.as_receipts(fields)
    assert back.task_id == 9
    assert [tuple(each) for each in back.filtered] == [(3, "tombstone")]
    assert [tuple(each) for each in back.rejected] == [(4, "http_400", "nö")]


@pytest.mark.parametrize("text", ["\ud800", "a\udcffb", "\x00", "😀"])
def test_any_text_of_a_codecs_error_can_be_a_reason(text: str) -> None:
    """A codec may quote half a surrogate pair: JSON can hold one, UTF-8 can't."""
    rejected = Receipts(1, [(0, text)], [(1, text, text)])
    kind, fields = protocol.decode(protocol.encode_receipts(rejected))
    assert kind is Kind.RECEIPTS
    ((index, reason, detail),) = protocol.as_receipts(fields).rejected
    assert index == 1
    assert reason
    assert detail
    assert protocol.decode(protocol.encode_failed(text, 70))[0] is Kind.FAILED


def test_statuses_arrive_as_they_were_sent() -> None:
    statuses = [
        DestinationStatus("upstream", "open", 10**12, 1, 2, 3, ""),
        DestinationStatus("saas", "paused", 0, 0, 0, 0, "HTTP 401", False, {"t/0": [2**40]}),
    ]
    kind, fields = protocol.decode(protocol.encode_status(statuses))
    assert kind is Kind.STATUS
    assert protocol.as_statuses(fields) == statuses


def test_the_small_frames_arrive_as_they_were_sent() -> None:
    assert protocol.decode(protocol.encode_cancel(2**40)) == (Kind.CANCEL, [2**40])
    assert protocol.decode(protocol.encode_done(7)) == (Kind.DONE, [7])
    assert protocol.decode(protocol.NEWS) == (Kind.NEWS, [])
    assert protocol.decode(protocol.encode_failed("why", 78)) == (Kind.FAILED, ["why", 78])


def test_the_stop_sentinel_is_not_another_frame() -> None:
    frames = [
        protocol.encode_task(task([protocol.STOP])),
        protocol.encode_cancel(1),
    ]
    assert protocol.STOP not in frames
    # Its first byte, "c", would be a small number in msgpack, and no kind has that number.
    assert protocol.STOP[0] not in [*Kind]
