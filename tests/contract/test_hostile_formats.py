"""Every message format over hostile input: an envelope, a skip or a rejection with its reason.

Never another exception, and never more time or memory than the message is worth.
"""

from __future__ import annotations

import re
import time
from functools import cache
from pathlib import Path
from typing import Any

import msgpack
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer_fleet.capture.envelope import Envelope, parse, serialize
from consumer_fleet.codec import Decode, Fragment, Incomplete, RawMessage, Skipped
from consumer_fleet.consumers.registry import CONSUMERS, get
from consumer_fleet.errors import RejectedMessage
from tests.support.messages import containing, message, now

NAMES = [each.name for each in CONSUMERS]
EVENT = {"event_id": "a" * 32, "platform": "python", "type": "transaction", "level": "error"}
DEEP = b'{"a":' * 3000 + b"1" + b"}" * 3000

# What JSON parsers disagree about, and what they refuse.
ODD_JSON = (
    b"",
    b"null",
    b"[]",
    b'"x"',
    b"NaN",
    b'{"a":NaN}',
    b'{"timestamp":1e999,"event_id":' + b"9" * 5000 + b"}",
    b'{"event_id":-9223372036854775809,"platform":18446744073709551616}',
    b'{"platform":"\xff\xfe"}',
    b'{"platform":"\\ud800"}',
    b'{"type":"transaction","type":["transaction"]}',
    b'{"type":"feedback"',
    DEEP,
    b"[" * 100_000,
    b"\xef\xbb\xbf{}",
    b'{"platform":"\\u0000"}\n{}',
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.sampled_from(["event", "a" * 32, "check_in", "clock_pulse", "profile", b"{}"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=8), inner, max_size=2)
    ),
    max_leaves=3,
)


@cache
def decoder(consumer: str) -> Decode:
    return get(consumer).decode


def judged(consumer: str, value: bytes | None) -> str:
    """The outcome, once it is known to be one that a worker can deal with."""
    raw: RawMessage = now(message(value))
    try:
        found = decoder(consumer)(raw)
    except RejectedMessage as rejection:
        return _readable(rejection.reason, rejection.detail)
    if isinstance(found, Fragment):
        return "fragment"
    if isinstance(found, Incomplete):
        found = found.completed({})
    if isinstance(found, Skipped):
        return _readable(found.reason)
    assert isinstance(found, Envelope)
    sent = serialize(found, dsn="http://k@h/1", sent_at="2026-01-01T00:00:00Z")
    assert parse(sent).items == found.items
    return "delivered"


def _readable(reason: str, detail: str = "") -> str:
    assert reason.isidentifier()
    assert len(detail) < 1000
    return reason


def packed(fields: Any) -> bytes:
    return bytes(msgpack.packb(fields, unicode_errors="surrogatepass"))


def dumped(document: Any) -> bytes:
    return orjson.dumps(document, default=lambda value: value.hex())


@st.composite
def messages(draw: st.DrawFn, consumer: str) -> bytes:
    """A valid message, with some members replaced, its payload odd, or its bytes damaged."""
    value = containing(consumer, EVENT)
    kind = draw(st.sampled_from(("member", "member", "payload", "cut", "bytes", "document")))
    is_msgpack = value[:1] not in (b"{", b"[")
    if kind == "bytes":
        return draw(st.binary(max_size=200))
    if kind == "cut":
        position = draw(st.integers(0, len(value)))
        return value[:position] + draw(st.binary(max_size=8)) + value[position + 1 :]
    if kind == "document":
        document = draw(values)
        return packed(document) if is_msgpack else dumped(document)
    if not is_msgpack:
        whole = orjson.loads(value) if consumer != "envelopes" else {"event_id": "a" * 32}
        target = whole[2] if isinstance(whole, list) else whole
        target[draw(st.sampled_from([*target, "data", "x"]))] = draw(values)
        if consumer == "envelopes":
            item = dumped(draw(st.dictionaries(st.sampled_from(["type", "length"]), scalars)))
            return b"\n".join((dumped(whole), item, draw(st.sampled_from(ODD_JSON))))
        return dumped(whole)
    fields = msgpack.unpackb(value)
    names = [name for name in fields if name in ("payload", "replay_event", "replay_video")]
    if kind == "payload":
        fields[draw(st.sampled_from(names))] = draw(st.sampled_from(ODD_JSON))
    else:
        fields[draw(st.sampled_from([*fields, "attachments", "attachment"]))] = draw(values)
    return packed(fields)


@pytest.mark.parametrize("consumer", NAMES)
def test_any_message_is_delivered_skipped_or_rejected(consumer: str) -> None:
    seen: set[str] = set()

    @settings(
        max_examples=500,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(messages(consumer))
    def run(value: bytes) -> None:
        seen.add(judged(consumer, value))

    run()
    assert len(seen) > 3


@pytest.mark.parametrize("consumer", NAMES)
@pytest.mark.parametrize("payload", ODD_JSON, ids=lambda payload: repr(payload[:20]))
def test_an_odd_payload_is_delivered_skipped_or_rejected(consumer: str, payload: bytes) -> None:
    value = containing(consumer, EVENT)
    assert judged(consumer, payload)
    if value[:1] not in (b"{", b"["):
        for name in ("payload", "replay_event", "replay_video"):
            assert judged(consumer, packed(msgpack.unpackb(value) | {name: payload}))


@pytest.mark.parametrize("consumer", NAMES)
@pytest.mark.parametrize("member", [None, "payload", "replay_event", "replay_video"])
def test_a_hundred_megabytes_of_zeros_take_neither_long_nor_several_times_their_size(
    consumer: str, member: str | None
) -> None:
    value = containing(consumer, EVENT)
    if member is None:
        value = bytes(100_000_000)
    elif value[:1] in (b"{", b"["):
        pytest.skip("the message is JSON, and has no such member")
    else:
        value = packed(msgpack.unpackb(value) | {member: bytes(100_000_000)})
    before = forget_peak_memory()
    started = time.process_time()
    outcome = reason_of(consumer, value)
    assert time.process_time() - started < 2
    # Members are copied out of the message, and those of a replay with a video into one item.
    assert peak_memory() - before < 4.5 * len(value)
    assert outcome != "delivered" or member is not None


def forget_peak_memory() -> int:
    """Let the kernel measure this process's peak from here on; returns its present memory."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def peak_memory() -> int:
    (found,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found) * 1024


def reason_of(consumer: str, value: bytes) -> str:
    try:
        found = decoder(consumer)(now(message(value)))
    except RejectedMessage as rejection:
        return rejection.reason
    return "delivered" if isinstance(found, Envelope) else "skipped"
