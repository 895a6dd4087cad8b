"""A replay is the consumer's own pipeline, in this process and in memory."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from itertools import islice
from typing import Any

import arroyo.utils.metrics
import orjson
import pytest
import sentry_sdk
import structlog

from consumer_fleet import metrics
from consumer_fleet.bootstrap import configure
from consumer_fleet.capture.envelope import Envelope, build, make_item
from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.consumers.registry import CONSUMERS
from consumer_fleet.errors import ConfigurationError, RejectedMessage
from consumer_fleet.run.demonstration import example_messages
from consumer_fleet.testing import (
    Answer,
    MadeRecording,
    Message,
    Origin,
    ReplayFailed,
    SentEnvelope,
    replay,
)
from tests.support.clock import ManualClock
from tests.support.codecs import obey
from tests.support.messages import containing
from tests.support.processes import wait_until

# A worker's thread ends as a process would, whatever ended it: nothing is left to the interpreter.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")

_hang = threading.Event()
_clock = ManualClock()


def hang(message: RawMessage) -> Envelope | Skipped:
    _clock.now += 60
    _hang.wait(60)
    return Skipped("woken")


def exhaust(message: RawMessage) -> Envelope | Skipped:
    if message.value == b"memory":
        raise MemoryError("no memory left for this message")
    return obey(message)


def of_many_items(message: RawMessage) -> Envelope | Skipped:
    items = [make_item(kind, b"{}") for kind in (message.value or b"").decode().split()]
    return build(message.derived_event_id(), items)


def raw_envelope(*, level: str = "error", message: str = "boom") -> bytes:
    event = orjson.dumps({"level": level, "message": message})
    return b'{"event_id":"%032x"}\n{"type":"event","length":%d}\n%s\n' % (
        abs(hash(message)),
        len(event),
        event,
    )


def test_every_message_ends_in_one_of_three_ways() -> None:
    replayed = replay(MadeRecording([b"hello", b"skip", b"reject", b"there"]), decode=obey)
    sent = replayed.envelopes["upstream"]
    assert [(each.origin, each.event["message"]) for each in sent] == [
        (Origin("events", 0, 0), "hello"),
        (Origin("events", 0, 3), "there"),
    ]
    assert replayed.delivered == 2
    assert replayed.filtered == {"on_purpose": 1}
    (letter,) = replayed.dead_letters
    assert (letter.reason, letter.detail) == ("bad_message", "it said so")
    assert str(letter.origin) == "events/0@2"
    assert letter.record.value == b"reject"
    assert replayed.commits == {0: 4}
    assert replayed.envelopes["saas"] == []


def test_the_project_s_own_codecs_run() -> None:
    messages = list(islice(example_messages("events"), 30))
    replayed = replay(MadeRecording([*messages, b"{", None]))
    assert len(replayed.envelopes["upstream"]) == replayed.delivered >= 25
    assert [letter.reason for letter in replayed.dead_letters] == ["invalid_json", "tombstone"]
    assert [letter.record.value for letter in replayed.dead_letters] == [b"{", None]
    event = orjson.loads(messages[0])[2]
    assert replayed.envelopes["upstream"][0].event_id == event["event_id"]


def test_the_order_is_that_of_partition_and_offset_at_any_number_of_messages() -> None:
    messages = [Message(b"%d" % each, partition=2 - each % 3) for each in range(1800)]
    replayed = replay(MadeRecording(messages), decode=obey)
    origins = [each.origin for each in replayed.envelopes["upstream"]]
    assert origins == [Origin("events", index, at) for index in range(3) for at in range(600)]
    assert replayed.commits == {0: 600, 1: 600, 2: 600}


def test_a_message_keeps_its_key_headers_and_timestamp() -> None:
    message = Message(b"reject", key=b"k", headers=(("h", b"1"), ("h", None)), timestamp_ms=5)
    (letter,) = replay(MadeRecording([message]), decode=obey).dead_letters
    assert letter.record == (0, 5, b"k", b"reject", (("h", b"1"), ("h", None)))
    (plain,) = replay(MadeRecording([b"reject"]), decode=obey).dead_letters
    assert plain.record == (0, 1_700_000_000_000, None, b"reject", ())


def test_an_empty_recording_is_replayed_at_once() -> None:
    replayed = replay(MadeRecording([]))
    assert (replayed.delivered, replayed.commits) == (0, {})


def test_the_second_destination_gets_its_share() -> None:
    recording = MadeRecording([b"%d" % each for each in range(200)])
    all_of_them = replay(recording, decode=obey, saas=True).envelopes
    assert all_of_them["saas"][7].event == all_of_them["upstream"][7].event
    assert len(all_of_them["saas"]) == 200
    half = [replay(recording, decode=obey, saas=0.5).envelopes["saas"] for _ in range(2)]
    assert half[0] == half[1]
    assert 50 < len(half[0]) < 150


def test_statsd_items_reach_upstream_only_where_its_metrics_are_enabled() -> None:
    recording = MadeRecording([b"event statsd"])
    without = replay(recording, decode=of_many_items, saas=True).envelopes
    assert [item.type for item in without["upstream"][0].items] == ["event"]
    assert [item.type for item in without["saas"][0].items] == ["event", "statsd"]
    enabled = replay(recording, decode=of_many_items, upstream_metrics_enabled=True).envelopes
    assert [item.type for item in enabled["upstream"][0].items] == ["event", "statsd"]


def test_what_a_destination_rejects_is_a_dead_letter() -> None:
    def answers(envelope: SentEnvelope) -> int | None:
        return 400 if envelope.event["level"] == "fatal" else None

    messages = [raw_envelope(message="a"), raw_envelope(level="fatal", message="b")]
    replayed = replay(MadeRecording(messages, topic="envelopes"), answers=answers)
    assert [each.event["message"] for each in replayed.envelopes["upstream"]] == ["a"]
    assert [(letter.reason, letter.record.value) for letter in replayed.dead_letters] == [
        ("http_400", messages[1])
    ]
    assert replayed.commits == {0: 2}


def test_a_destination_is_asked_again_where_it_would_be_in_production() -> None:
    answers: Iterator[int | Answer] = iter([503, Answer(429, retry_after="0"), 200])
    replayed = replay(MadeRecording([b"hello"]), decode=obey, answers=lambda _: next(answers))
    assert len(replayed.envelopes["upstream"]) == 1
    assert replayed.metrics["capture.retried{cause=http_503,destination=upstream}"] == 1
    assert replayed.metrics["internal.sent_requests{destination=upstream}"] == 3


def test_a_bug_in_the_codec_is_a_dead_letter_and_no_memory_costs_three_workers() -> None:
    recording = MadeRecording([b"bug", b"memory", b"fine"])
    replayed = replay(recording, decode=exhaust)
    assert [letter.reason for letter in replayed.dead_letters] == ["codec_error", "worker_killed"]
    assert [each.event["message"] for each in replayed.envelopes["upstream"]] == ["fine"]
    assert replayed.metrics["worker.died{cause=exit}"] == 3


def test_metrics_are_those_of_the_replay_alone() -> None:
    metrics.incr("worker.started", amount=40)
    before = metrics.snapshot()
    replayed = replay(MadeRecording([b"hello", b"skip"]), decode=obey)
    assert replayed.metrics["consumer.messages{outcome=delivered}"] == 1
    assert replayed.metrics["consumer.filtered{reason=on_purpose}"] == 1
    assert replayed.metrics["capture.accepted{destination=upstream}"] == 1
    assert replayed.metrics["worker.started"] == 1
    assert metrics.snapshot() == before


def test_the_replay_says_what_it_hung_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: SentEnvelope) -> int:
        _clock.now += 1
        return 401

    module = import_module("consumer_fleet.testing.replay")  # its package has a function for it
    monkeypatch.setattr(module, "monotonic", _clock)
    _hang.clear()
    started = time.monotonic()
    try:
        with pytest.raises(ReplayFailed, match=r"has not returned from events/0@0"):
            replay(MadeRecording([b"hello"]), decode=hang)
    finally:
        _hang.set()
    assert time.monotonic() - started < 20, "it waited for the codec"
    with pytest.raises(ReplayFailed, match=r"upstream is paused: HTTP 401"):
        # Before its third answer, the worker has long told that the first one paused it.
        replay(MadeRecording([b"hello"]), decode=obey, answers=refuse, timeout_s=2.5)


def test_a_codec_that_could_not_reach_a_worker_process_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="top level of a module"):
        replay(MadeRecording([b"hello"]), decode=lambda _: Skipped("never"))


def test_a_topic_that_no_consumer_reads_asks_for_one() -> None:
    recording = MadeRecording([raw_envelope()], topic="my-envelopes")
    with pytest.raises(ConfigurationError, match="give consumer="):
        replay(recording)
    replayed = replay(recording, "envelopes")
    assert [str(each.origin) for each in replayed.envelopes["upstream"]] == ["my-envelopes/0@0"]


@pytest.mark.parametrize("answer", ["no", 42, RuntimeError("a bug in the test"), KeyError("x")])
def test_what_is_wrong_with_the_answers_fails_the_test_at_once(answer: Any) -> None:
    def answers(_: SentEnvelope) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    started = time.monotonic()
    with pytest.raises(type(answer) if isinstance(answer, Exception) else TypeError):
        replay(MadeRecording([b"hello"]), decode=obey, answers=answers)
    assert time.monotonic() - started < 20, "it waited for an answer"


def test_pytest_fail_in_the_answers_fails_the_test() -> None:
    def answers(_: SentEnvelope) -> int:
        pytest.fail("not this one")

    with pytest.raises(pytest.fail.Exception, match="not this one"):
        replay(MadeRecording([b"hello"]), decode=obey, answers=answers)


class _KeepingTransport(sentry_sdk.transport.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[object] = []

    def capture_envelope(self, envelope: sentry_sdk.envelope.Envelope) -> None:
        self.kept.append(envelope)


@pytest.fixture
def own_sdk() -> Iterator[_KeepingTransport]:
    """A project that is tested with its own SDK switched on."""
    before = sentry_sdk.get_client()
    transport = _KeepingTransport()
    sentry_sdk.init(dsn="http://own@127.0.0.1:9/1", transport=transport)
    yield transport
    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(before)


def process_state() -> list[object]:
    """What belongs to the process, and others share."""
    gc.collect()  # what earlier tests have left to the collector has open files
    return [
        sentry_sdk.get_client(),
        signal.getsignal(signal.SIGINT),
        signal.getsignal(signal.SIGTERM),
        signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        arroyo.utils.metrics.get_metrics(),
        configure._process._app,
        structlog.is_configured(),
        structlog.get_config(),
        logging.getLogger().handlers,
        logging.getLogger().level,
        dict(os.environ),
        sorted(thread.name for thread in threading.enumerate()),
        len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - counted, not walked
    ]


@pytest.fixture(params=[True, False])
def own_structlog(request: pytest.FixtureRequest) -> Iterator[None]:
    """A project that has configured structlog, and one that has not."""
    before = structlog.get_config() if structlog.is_configured() else None
    structlog.reset_defaults()
    if request.param:
        structlog.configure(processors=[structlog.processors.JSONRenderer()])
    yield
    structlog.reset_defaults()
    if before is not None:
        structlog.configure(**before)


@pytest.mark.usefixtures("own_structlog")
def test_nothing_that_belongs_to_the_process_is_left_changed(own_sdk: _KeepingTransport) -> None:
    own = structlog.is_configured(), structlog.get_config()
    # Once, for what is made once: imports, and multiprocessing's shared memory.
    replay(MadeRecording([b"hello"]), decode=obey)
    before = process_state()
    assert own == (structlog.is_configured(), structlog.get_config())
    for _ in range(3):
        assert replay(MadeRecording([b"hello"]), decode=obey, saas=True).delivered == 1
    with pytest.raises(ReplayFailed):
        replay(MadeRecording([b"hello"]), decode=obey, answers=lambda _: 401, timeout_s=0.1)
    with pytest.raises(ConfigurationError):
        replay(MadeRecording([b"hello"]), decode=lambda _: Skipped("never"))
    with pytest.raises(RejectedMessage):
        replay(_Damaged([b"hello"]), decode=obey)
    with suppress(TimeoutError):  # the thread of the one that hung is not waited for
        wait_until(lambda: process_state() == before, timeout_s=20, what="its threads to end")
    assert process_state() == before
    sentry_sdk.flush()
    assert own_sdk.kept == [], "what happens in a replay is not for the project's own Sentry"


def test_what_goes_wrong_is_printed_for_pytest_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    before = structlog.get_config() if structlog.is_configured() else None
    structlog.reset_defaults()
    replay(MadeRecording([b"bug", b"hello"]), decode=obey)
    if before is not None:
        structlog.configure(**before)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "ZeroDivisionError: a bug in the codec" in printed.err
    assert "worker_ready" not in printed.err


class _Damaged(MadeRecording):
    def chunks(self) -> Iterator[Any]:
        yield from super().chunks()
        raise RejectedMessage("damaged", "as a file may be")


def test_a_result_is_shown_in_one_line() -> None:
    replayed = replay(MadeRecording([b"hello", b"skip", b"reject"]), decode=obey)
    assert repr(replayed) == (
        "<Replayed: sent to upstream 1; filtered {'on_purpose': 1}; "
        "dead letters 1 [events/0@2 bad_message]; commits {0: 3}>"
    )
    (envelope,) = replayed.envelopes["upstream"]
    assert repr(envelope) == f"<envelope of events/0@0, event_id={envelope.event_id}: event>"


@pytest.mark.parametrize("consumer", [each.name for each in CONSUMERS])
def test_a_message_of_each_consumer_is_delivered_however_old_it_is(consumer: str) -> None:
    document = {"event_id": "a" * 32, "platform": "python"}
    message = Message(value=containing(consumer, document), timestamp_ms=1_000_000_000_000)
    replayed = replay(MadeRecording([message]), consumer)
    assert (replayed.delivered, replayed.filtered, replayed.dead_letters) == (1, {}, [])
