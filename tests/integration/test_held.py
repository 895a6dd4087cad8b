"""Held messages on real Kafka: what one destination limits or refuses alone keeps nothing back."""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from consumer_fleet.capture.envelope import build, make_item, serialize
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.open_offsets import CommitMetadata
from tests.conftest import TopicFactory
from tests.support.bugsink import Bugsink
from tests.support.consumer_process import ConsumerProcess, run_command
from tests.support.kafka_broker import KafkaBroker
from tests.support.processes import wait_until
from tests.support.scripted_receiver import ReceivedRequest, Reply, ScriptedReceiver

LIMITED_FOR_A_DAY = Reply(429, {"X-Sentry-Rate-Limits": "86400:transaction;span:organization"})


def new_id() -> str:
    return uuid.uuid4().hex


def envelope(event_id: str, kind: str = "event") -> bytes:
    body = {
        "event": b'{"event_id":"%b","message":"m","platform":"python"}',
        "transaction": b'{"event_id":"%b","type":"transaction","transaction":"t",'
        b'"start_timestamp":1700000000,"timestamp":1700000001,"contexts":{"trace":'
        b'{"trace_id":"%b","span_id":"aaaaaaaaaaaaaaaa"}}}',
    }[kind]
    payload = body.replace(b"%b", event_id.encode())
    made = build(event_id, [make_item(kind, payload)])
    return serialize(made, dsn="http://key@host/1", sent_at="2026-01-01T00:00:00Z")


class Scene:
    """A topic of raw envelopes, its group, and its dead letters."""

    def __init__(self, kafka: KafkaBroker, topic: str, folder: Path) -> None:
        self.kafka, self.topic, self.folder = kafka, topic, folder
        self.group = f"group-{new_id()[:8]}"

    def run(self, dsn: str, *arguments: str) -> ConsumerProcess:
        return ConsumerProcess(
            self.folder,
            *("--topic", "envelopes", "--physical-topic", self.topic, "--group", self.group),
            *("--bootstrap-servers", self.kafka.bootstrap_servers, "--upstream-dsn", dsn),
            *("--workers", "1", *arguments),
        )

    def produce(self, *ids: str, kind: str = "event") -> None:
        self.kafka.produce(self.topic, [envelope(each, kind) for each in ids])

    @property
    def committed(self) -> dict[int, int]:
        return self.kafka.committed(self.group, self.topic)

    @property
    def ends(self) -> dict[int, int]:
        return {index: end for index, end in self.kafka.end_offsets(self.topic).items() if end}

    def commit(self, changed: TopicPartition | None = None) -> TopicPartition:
        """The last commit of partition 0; ``changed`` replaces it."""
        client = Consumer(self.kafka.client_config(group_id=self.group, enable_auto_commit=False))
        try:
            if changed is not None:
                client.commit(offsets=[changed], asynchronous=False)
            self.kafka.committed(self.group, self.topic)  # its coordinator may still start
            (found,) = client.committed([TopicPartition(self.topic, 0)], timeout=10)
        finally:
            client.close()
        return found

    def settled_below(self) -> int:
        """What the last commit says of partition 0: all below is settled but for the held."""
        found = self.commit()
        return CommitMetadata.read(found.metadata, found.offset).high

    def dead_letters(self) -> dict[str, dict[str, str]]:
        """The dead letters' headers, by event id."""
        found = {}
        for message in self.kafka.read(f"{self.topic}-dlq"):
            record = Record.from_kafka(message)
            event_id = (record.value or b"").split(b'"event_id":"')[1][:32].decode()
            found[event_id] = {
                name: value.decode() for name, value in record.headers if isinstance(value, bytes)
            }
        return found


@pytest.fixture
def scene(kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path) -> Callable[..., Scene]:
    return lambda partitions=1: Scene(kafka, topic(partitions), tmp_path)


def accepted(receiver: ScriptedReceiver) -> Counter[str]:
    return Counter(str(each.event_id) for each in receiver.envelopes)


def fails(*bad: str, before: str = "") -> Callable[[ReceivedRequest], Reply]:
    """Answer these envelopes with 500, and accept the others; ``before``, if given, only once each
    of these has failed. Without another one accepted after it, a failure may be an outage. Each
    worker judges by what it has seen itself, so this is for one worker.
    """
    names, failed = {each.encode() for each in bad}, set[bytes]()

    def answer(request: ReceivedRequest) -> Reply:
        found = {name for name in names if name in request.body}
        if found:
            answered = partial(failed.update, found)
            return Reply(500, body=b'{"detail":"no such project shard"}', on_sent=answered)
        if before and before.encode() in request.body:
            wait_until(lambda: failed == names, timeout_s=30, what="a failure of each")
        return Reply()

    return answer


def limits_transactions(request: ReceivedRequest) -> Reply:
    return LIMITED_FOR_A_DAY if b'"type":"transaction"' in request.body else Reply()


def test_bugsink_takes_all_errors_although_it_limits_transactions_for_a_day(
    scene: Callable[..., Scene], bugsink: Bugsink, kafka: KafkaBroker
) -> None:
    here = scene()
    errors = [new_id() for _ in range(600)]
    values = [(each, "event") for each in errors]
    values += [(new_id(), "transaction") for _ in range(600)]
    random.Random(14).shuffle(values)
    kafka.produce(here.topic, [envelope(*each) for each in values])
    with here.run(bugsink.dsn, "--stop-at-end", "--workers", "2") as consumer:
        assert consumer.wait() == 0
        held = consumer.events("message_held")[0]
        assert (held["kind"], held["destination"]) == ("limited", "upstream")
        delivered = consumer.delivered()
    bugsink.wait_for_ids(errors)
    assert here.committed == here.ends
    letters = here.dead_letters()
    # Until its first answer, Bugsink accepts transactions, and drops them.
    assert len(letters) + delivered == 1200
    assert not set(letters) & set(errors)
    assert {each["dlq.reason"] for each in letters.values()} == {"held_limited"}
    assert "86400:transaction" in next(iter(letters.values()))["dlq.detail"]
    assert all(int(each["dlq.due_ms"]) > 1_700_000_000_000 for each in letters.values())


def test_failing_messages_are_passed_across_restarts_and_end_as_dead_letters(
    scene: Callable[..., Scene], upstream: ScriptedReceiver
) -> None:
    here = scene()
    ids = [new_id() for _ in range(600)]
    bad = [ids[10], ids[11], ids[300]]
    upstream.respond(fails(*bad, before=ids[399]))
    here.produce(*ids[:400])
    with here.run(upstream.dsn()) as consumer:
        consumer.wait_for("message_held", 3)
        consumer.wait_until(lambda: len(accepted(upstream)) == 397, "the others")
        consumer.signal(signal.SIGTERM)
        assert consumer.wait() == 0
    assert here.committed == {0: 10}
    status = run_command(
        *("status", "--group", here.group, "--bootstrap-servers", here.kafka.bootstrap_servers)
    )
    shown = " ".join(status.stdout.split())
    assert "3 messages held, others pass" in shown
    assert "/0 at offset 10: upstream fails on it: HTTP 500" in shown
    upstream.respond(fails(*bad, before=ids[499]))
    here.produce(*ids[400:500])
    # A killed member is soon replaced.
    with here.run(upstream.dsn(), "--kafka-config", "session.timeout.ms=6000") as consumer:
        consumer.wait_until(lambda: len(accepted(upstream)) == 497, "the next ones")
        consumer.wait_until(lambda: here.committed == {0: 10}, "a commit")
        consumer.wait_until(
            lambda: len(consumer.events("message_held")) == 3, "the same ones to be held"
        )
        # A commit later, nothing of what has passed is sent again.
        consumer.wait_until(lambda: here.settled_below() == 500, "a commit that names them")
        consumer.signal(signal.SIGKILL)
        consumer.wait()
    here.produce(*ids[500:])
    upstream.respond(fails(*bad, before=ids[-1]))
    with here.run(upstream.dsn(), "--stop-at-end") as consumer:
        assert consumer.wait() == 0
    assert here.committed == here.ends
    assert accepted(upstream) == Counter(set(ids) - set(bad))
    letters = here.dead_letters()
    assert set(letters) == set(bad)
    for letter in letters.values():
        assert letter["dlq.reason"] == "held_failing"
        assert "no such project shard" in letter["dlq.detail"]


def test_the_time_that_a_message_is_held_goes_on_across_restarts(
    scene: Callable[..., Scene], upstream: ScriptedReceiver
) -> None:
    here = scene()
    ids = [new_id() for _ in range(60)]
    old, young = ids[10], ids[30]
    upstream.respond(fails(old, young, before=ids[-1]))
    here.produce(*ids)
    begun = time.time()
    with here.run(upstream.dsn()) as consumer:
        consumer.wait_until(lambda: here.settled_below() == 60, "a commit of all")
        consumer.signal(signal.SIGTERM)
        assert consumer.wait() == 0
    found = here.commit()
    left = CommitMetadata.read(found.metadata, found.offset)
    assert left.since.keys() == left.open == {10, 30}
    assert all(begun <= since <= time.time() + 1 for since in left.since.values())
    # As if the first one had been held for all of hold_at_most_s in earlier processes.
    segments = f"since={begun - 600:.0f}:1,590:1"
    older = re.sub("since=[^ ]+", segments, found.metadata or "")
    here.commit(TopicPartition(here.topic, 0, found.offset, older))
    more = [new_id() for _ in range(100)]
    upstream.respond(fails(old, young, before=more[-1]))
    here.produce(*more)
    with here.run(upstream.dsn()) as consumer:
        consumer.wait_for("message_held", 2)
        consumer.wait_until(lambda: set(here.dead_letters()) == {old}, "its dead letter")
        consumer.wait_until(lambda: here.committed == {0: 30}, "a commit past it")
        consumer.signal(signal.SIGTERM)
        assert consumer.wait() == 0
    assert set(here.dead_letters()) == {old}
    # The other one keeps its own time.
    found = here.commit()
    assert CommitMetadata.read(found.metadata, found.offset).since == {30: round(begun - 10)}


def test_a_run_whose_last_messages_all_fail_ends_and_the_next_one_sends_only_them(
    scene: Callable[..., Scene], upstream: ScriptedReceiver
) -> None:
    here = scene()
    good, bad, more = ([new_id() for _ in range(size)] for size in (100, 60, 100))
    answer, sent, all_are_sent = fails(*bad), count(1), threading.Event()

    def good_first(request: ReceivedRequest) -> Reply:
        """Nothing shows that the others fail alone."""
        reply = answer(request)
        if reply.status == 500:
            all_are_sent.wait(30)
            return reply
        return Reply(on_sent=lambda: next(sent) == len(good) and all_are_sent.set())

    upstream.respond(good_first)
    here.produce(*good, *bad)
    to_the_end = ("--stop-at-end", "--set")
    with here.run(upstream.dsn(), *to_the_end, "hold_at_most_s=3") as consumer:
        # It may as well be an outage: nothing becomes a dead letter.
        assert consumer.wait() == 69
        assert "none of the last ones was accepted. upstream: HTTP 500" in consumer.output()
    assert here.dead_letters() == {}
    assert here.committed == {0: 100}
    upstream.respond(fails(*bad, before=more[-1]))
    here.produce(*more)
    with here.run(upstream.dsn(), *to_the_end, "hold_at_most_s=600") as consumer:
        assert consumer.wait() == 0
    assert set(here.dead_letters()) == set(bad)
    assert here.committed == here.ends
    assert accepted(upstream) == Counter([*good, *more])


def test_what_bugsink_never_takes_is_filtered_where_the_options_say_so(
    scene: Callable[..., Scene], bugsink: Bugsink
) -> None:
    here = scene()
    errors = [new_id() for _ in range(50)]
    here.produce(*errors)
    here.produce(*(new_id() for _ in range(50)), kind="transaction")
    drop = ("--set", "upstream_drop_items=transaction")
    with here.run(bugsink.dsn, "--stop-at-end", *drop) as consumer:
        assert consumer.wait() == 0
        (summary,) = consumer.events("summary")
        assert (summary["delivered"], summary["filtered"]) == (50, {"dropped_items": 50})
        assert consumer.events("message_held") == []
    bugsink.wait_for_ids(errors)
    assert here.committed == here.ends


@pytest.mark.parametrize(
    "outage", [Reply(503), Reply(403), Reply(429, {"X-Sentry-Rate-Limits": "6::organization"})]
)
def test_an_outage_makes_no_dead_letters_and_everything_arrives_after_it(
    scene: Callable[..., Scene], upstream: ScriptedReceiver, outage: Reply
) -> None:
    here = scene()
    ids = [new_id() for _ in range(300)]
    here.produce(*ids[:100])
    arguments = ("--set", "hold_at_most_s=1", "--set", "max_in_flight_mb=1", "--workers", "2")
    with here.run(upstream.dsn(), *arguments) as consumer:
        consumer.wait_until(lambda: len(accepted(upstream)) == 100, "the first ones")
        upstream.respond(outage)
        here.produce(*ids[100:])
        refused_since = time.monotonic()

        def lasts() -> bool:
            refused = [each.received_at_s for each in upstream.requests if each.reply == outage]
            # While it is limited, nothing more is sent.
            return bool(refused) and max(refused[-1] + 2, time.monotonic()) > refused_since + 4

        consumer.wait_until(lasts, "the outage to be longer than hold_at_most_s")
        upstream.respond(200)
        consumer.wait_until(lambda: here.committed == here.ends, "all to be committed")
        assert consumer.events("message_held") == []
        consumer.signal(signal.SIGTERM)
        assert consumer.wait() == 0
    assert accepted(upstream) == Counter(ids)
    assert here.dead_letters() == {}


def test_held_messages_outlive_their_worker_and_arrive_once(
    scene: Callable[..., Scene], upstream: ScriptedReceiver
) -> None:
    here = scene()
    ids = [new_id() for _ in range(300)]
    upstream.respond(fails(*ids[5:8], before=ids[-1]))
    here.produce(*ids)
    with here.run(upstream.dsn()) as consumer:
        consumer.wait_for("message_held", 3)
        consumer.wait_until(lambda: len(accepted(upstream)) == 297, "the others")
        consumer.wait_until(lambda: here.committed == {0: 5}, "the commit behind them")
        (worker,) = consumer.worker_pids()
        os.kill(worker, signal.SIGKILL)
        consumer.wait_for("worker_died")
        upstream.respond(200)
        consumer.wait_until(lambda: here.committed == here.ends, "all to be committed")
        consumer.signal(signal.SIGTERM)
        assert consumer.wait() == 0
        assert consumer.delivered() == 300
    assert accepted(upstream) == Counter(ids)


@pytest.mark.parametrize(
    "protocol", ["partition.assignment.strategy=cooperative-sticky", "group.protocol=consumer"]
)
def test_a_new_owner_sends_what_is_held_and_nothing_that_has_passed_it(
    scene: Callable[..., Scene], upstream: ScriptedReceiver, kafka: KafkaBroker, protocol: str
) -> None:
    here = scene(4)
    ids = [new_id() for _ in range(800)]
    more: list[str] = []
    bad = [ids[index * 200 + 5] for index in range(4)]
    upstream.respond(fails(*bad, before=ids[-1]))
    for index in range(4):
        values = [envelope(each) for each in ids[index * 200 : index * 200 + 200]]
        kafka.produce(here.topic, values, partition=index)
    group = ("--kafka-config", protocol)
    with here.run(upstream.dsn(), *group) as first:
        first.wait_for("message_held", len(bad))
        first.wait_until(lambda: len(accepted(upstream)) == 796, "the others")
        with here.run(upstream.dsn(), *group) as second:
            second.wait_until(
                lambda: any(each["partitions"] for each in second.events("partitions_assigned")),
                "its share",
            )

            def passes_another() -> bool:
                """Only where others pass it is one failing, and not the destination down."""
                for index in range(4):
                    more.append(new_id())
                    kafka.produce(here.topic, [envelope(more[-1])], partition=index)
                return bool(second.events("message_held"))

            second.wait_until(passes_another, "one of its own to be held")
            second.signal(signal.SIGTERM)
            assert second.wait() == 0
            assert second.events("held_offsets_found"), "it took over what was held"
        upstream.respond(200)
        first.wait_until(lambda: here.committed == here.ends, "all to be committed")
        first.signal(signal.SIGTERM)
        assert first.wait() == 0
    assert accepted(upstream) == Counter([*ids, *more])
    assert here.dead_letters() == {}


def test_a_stop_does_not_wait_for_a_limit_of_a_day(
    scene: Callable[..., Scene], upstream: ScriptedReceiver
) -> None:
    here = scene()
    upstream.respond(Reply(429, {"X-Sentry-Rate-Limits": "86400::organization"}))
    here.produce(*(new_id() for _ in range(500)))
    with here.run(upstream.dsn(), "--workers", "2") as consumer:
        consumer.wait_for("destination_throttled")
        consumer.worker_pids(2)  # one that still boots would be waited for
        stopped_at = time.monotonic()
        consumer.signal(signal.SIGTERM)
        assert consumer.wait() == 0
        # Not the 25 s of shutdown_timeout; most of it is the end of the processes.
        assert time.monotonic() - stopped_at < 18
    assert here.committed in ({}, {0: 0})
