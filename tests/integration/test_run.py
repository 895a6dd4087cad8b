"""``consumer run`` on real Kafka: exact sets of what was accepted, dead-lettered and committed."""

from __future__ import annotations

import os
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import msgpack
import orjson
import pytest

from consumer_fleet.kafka.chunk import Record
from tests.conftest import TopicFactory
from tests.support.bugsink import Bugsink
from tests.support.consumer_process import ConsumerProcess
from tests.support.kafka_broker import KafkaBroker
from tests.support.messages import examples
from tests.support.processes import wait_until
from tests.support.scripted_receiver import ReceivedRequest, Reply, ScriptedReceiver

ASSIGNED = "partitions_assigned"
METRICS_ENABLED = "SENTRY_SDK_UPSTREAM_METRICS_ENABLED"


@pytest.fixture
def saas() -> Iterator[ScriptedReceiver]:
    with ScriptedReceiver() as receiver:
        yield receiver


class Scene:
    """A topic on real Kafka, a group of its own, and the consumer's arguments for both."""

    def __init__(self, kafka: KafkaBroker, consumer: str, topic: str, folder: Path) -> None:
        self.kafka = kafka
        self.consumer = consumer
        self.topic = topic
        self.group = f"group-{uuid.uuid4().hex[:8]}"
        self.folder = folder

    def run(
        self,
        upstream: ScriptedReceiver | str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
    ) -> ConsumerProcess:
        dsn = upstream if isinstance(upstream, str) else upstream.dsn()
        return ConsumerProcess(
            self.folder,
            *("--topic", self.consumer, "--physical-topic", self.topic, "--group", self.group),
            *("--bootstrap-servers", self.kafka.bootstrap_servers, "--upstream-dsn", dsn),
            *("--workers", "2", *arguments),
            environment=environment,
        )

    def committed(self) -> dict[int, int]:
        return self.kafka.committed(self.group, self.topic)

    def ends(self) -> dict[int, int]:
        return {index: end for index, end in self.kafka.end_offsets(self.topic).items() if end}

    def committed_total(self) -> int:
        return sum(self.committed().values())

    def dead_letters(self) -> list[tuple[bytes | None, dict[str, bytes]]]:
        found = self.kafka.read(f"{self.topic}-dlq")
        records = [Record.from_kafka(message) for message in found]
        return [(r.value, {n: v for n, v in r.headers if isinstance(v, bytes)}) for r in records]


@pytest.fixture
def scene(kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path) -> MakeScene:
    """``scene(consumer, partitions=4)`` creates a topic for a consumer and a group."""

    def make(consumer: str, partitions: int = 4) -> Scene:
        return Scene(kafka, consumer, topic(partitions), tmp_path)

    return make


MakeScene: TypeAlias = Callable[..., Scene]


def ingest_event(event_id: str) -> bytes:
    payload = orjson.dumps({"event_id": event_id, "message": "m", "extra": {"pad": "x" * 800}})
    return bytes(
        msgpack.packb(
            {
                "type": "event",
                "payload": payload,
                "start_time": 1_700_000_000,
                "event_id": event_id,
                "project_id": 3,
                "remote_addr": "127.0.0.1",
                "attachments": [],
            }
        )
    )


def produce_events(scene: Scene, count: int) -> list[str]:
    """Fresh events on all partitions; gives their ids."""
    ids = [uuid.uuid4().hex for _ in range(count)]
    scene.kafka.produce(scene.topic, [ingest_event(event_id) for event_id in ids])
    return ids


def produce_to_each(scene: Scene, count: int) -> dict[int, list[str]]:
    """Fresh events for each partition; gives their ids."""
    ids = {index: [uuid.uuid4().hex for _ in range(count)] for index in range(4)}
    for index, own in ids.items():
        scene.kafka.produce(scene.topic, map(ingest_event, own), partition=index)
    return ids


def partitions_of(consumer: ConsumerProcess) -> list[int]:
    """Block until the consumer has partitions; gives the first that it got."""

    def assigned() -> list[str]:
        return next(filter(None, (e["partitions"] for e in consumer.events(ASSIGNED))), [])

    consumer.wait_until(lambda: bool(assigned()), "partitions")
    return [int(name.rpartition("/")[2]) for name in assigned()]


def accepted_ids(receiver: ScriptedReceiver) -> Counter[str]:
    return Counter(str(envelope.event_id) for envelope in receiver.envelopes)


def test_20000_messages_are_accepted_exactly_once_and_committed(
    scene: MakeScene, upstream: ScriptedReceiver
) -> None:
    stage = scene("ingest-events")
    ids = produce_events(stage, 20_000)
    with stage.run(upstream, "--stop-at-end") as consumer:
        assert consumer.wait() == 0
        assert consumer.delivered() == 20_000
    assert accepted_ids(upstream) == Counter(ids)
    assert stage.committed() == stage.ends()
    assert stage.dead_letters() == []


def test_a_timestamp_beyond_the_calendar_stops_nothing(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path, upstream: ScriptedReceiver
) -> None:
    """Producers that count in nanoseconds, and rejected messages of theirs."""
    name = topic(1, {"message.timestamp.after.max.ms": 2**63 - 1, "retention.ms": -1})
    stage = Scene(kafka, "ingest-events", name, tmp_path)
    event_id = uuid.uuid4().hex
    values = [ingest_event(event_id), b"not MessagePack"]
    kafka.produce(stage.topic, values, timestamp_ms=1_700_000_000_000_000_000)
    with stage.run(upstream, "--stop-at-end") as consumer:
        assert consumer.wait() == 0
    assert accepted_ids(upstream) == Counter([event_id])
    assert stage.committed() == {0: 2}
    ((value, headers),) = stage.dead_letters()
    assert value == b"not MessagePack"
    assert headers["dlq.timestamp_ms"] == b"1700000000000000000"


def test_every_insert_of_sentrys_examples_shows_on_bugsink_as_the_right_error(
    scene: MakeScene, bugsink: Bugsink
) -> None:
    stage = scene("events")
    values, expected = [], {}
    for name, value in examples("events").items():
        body = orjson.loads(value)
        if body[1] == "insert":
            # Several examples share an id, of which a server keeps one.
            event_id = uuid.uuid4().hex
            body[2]["event_id"] = body[2]["data"]["event_id"] = event_id
            expected[event_id] = (name, body[2])
        values.append(orjson.dumps(body))
    stage.kafka.produce(stage.topic, values)
    with stage.run(bugsink.dsn, "--stop-at-end") as consumer:
        assert consumer.wait() == 0
        assert consumer.delivered() == len(expected) > 5
        (summary,) = consumer.events("summary")
    assert sum(summary["filtered"].values()) == len(values) - len(expected) > 5
    assert summary["dead_lettered"] == {}
    stored = bugsink.wait_for_ids(expected)
    for event_id, (name, row) in expected.items():
        exceptions = (row["data"].get("exception") or {}).get("values") or [{}]
        error_type = (exceptions[-1] or {}).get("type")
        if error_type:
            assert stored[event_id].title_type == error_type, name
        else:
            shown = f"{stored[event_id].title_type} {stored[event_id].title_value}"
            logentry = row["data"].get("logentry") or {}
            assert (logentry.get("formatted") or row["message"]) in shown, name


UNKNOWN = bytes(range(256)) * 3 + b"\n\n{not json"


def raw_envelope(event_id: str) -> bytes:
    event = orjson.dumps({"event_id": event_id, "message": "m"})
    statsd = b"requests@none:1|c\nlatency@ms:3|d"
    return b"\n".join(
        [
            orjson.dumps(
                {"event_id": event_id, "dsn": "https://evil@evil.invalid/9", "sent_at": "2001"}
            ),
            b'{"type":"event","length":%d}' % len(event),
            event,
            b'{"type":"statsd","length":%d}' % len(statsd),
            statsd,
            b'{"type":"from_the_future","length":%d,"odd":123456789012345678901234567890}'
            % len(UNKNOWN),
            UNKNOWN,
        ]
    )


@pytest.mark.parametrize(
    ("enabled", "upstream_types"),
    [("false", ["event", "from_the_future"]), ("true", ["event", "statsd", "from_the_future"])],
)
def test_statsd_is_left_out_upstream_while_its_metrics_are_disabled_and_saas_gets_all(
    scene: MakeScene,
    upstream: ScriptedReceiver,
    saas: ScriptedReceiver,
    enabled: str,
    upstream_types: Sequence[str],
) -> None:
    stage = scene("envelopes", 1)
    ids = [uuid.uuid4().hex for _ in range(200)]
    stage.kafka.produce(stage.topic, map(raw_envelope, ids))
    arguments = ("--saas-dsn", saas.dsn(), "--set", "store.use-relay-dsn-sample-rate=1")
    with stage.run(
        upstream, "--stop-at-end", *arguments, environment={METRICS_ENABLED: enabled}
    ) as consumer:
        assert consumer.wait() == 0
    for receiver, types in (
        (upstream, upstream_types),
        (saas, ["event", "statsd", "from_the_future"]),
    ):
        assert accepted_ids(receiver) == Counter(ids)
        for request in receiver.requests:
            assert [item.type for item in request.envelope.items] == list(types)
            unknown = request.envelope.items[-1]
            assert unknown.payload == UNKNOWN
            assert (
                unknown.header
                == b'{"type":"from_the_future","length":%d,"odd":123456789012345678901234567890}'
                % len(UNKNOWN)
            )
            assert b"evil" not in request.body
            assert receiver.dsn().encode() in request.body.partition(b"\n")[0]


def test_401_for_5_s_commits_nothing_past_what_was_accepted_and_resumes_by_itself(
    scene: MakeScene, upstream: ScriptedReceiver
) -> None:
    stage = scene("ingest-events")
    ids = produce_events(stage, 3_000)
    refuse_after = 1_000
    # Accepts a thousand, then refuses for 5 s from the first refusal.
    first_refusal: list[float] = []

    def script(request: ReceivedRequest) -> Reply:
        if len(upstream._requests) < refuse_after:
            return Reply(200)
        if not first_refusal:
            first_refusal.append(request.received_at_s)
        return Reply(401 if request.received_at_s - first_refusal[0] < 5 else 200)

    upstream.respond(script)
    with stage.run(upstream, "--stop-at-end") as consumer:
        (paused, *_) = consumer.wait_for("destination_paused")
        assert paused["status"] == 401
        while True:
            seen = len(upstream.requests)
            committed = stage.committed_total()
            assert committed <= len(upstream.envelopes)
            if any(r.received_at_s - first_refusal[0] >= 4 for r in upstream.requests):
                break
            consumer.wait_until(
                partial(lambda count: len(upstream.requests) > count, seen), "a probe"
            )
        assert consumer.wait() == 0
        assert consumer.events("destination_resumed")
        (summary,) = consumer.events("summary")
    assert summary["dead_lettered"] == {}
    assert summary["workers_restarted"] == 0
    assert accepted_ids(upstream) == Counter(ids)
    assert stage.committed() == stage.ends()


def test_a_killed_worker_loses_nothing_and_causes_no_rebalance(
    scene: MakeScene, upstream: ScriptedReceiver
) -> None:
    stage = scene("ingest-events")
    ids = produce_events(stage, 10_000)
    with stage.run(upstream, "--stop-at-end", "--set", "connections=8") as consumer:
        consumer.wait_until(lambda: len(upstream._requests) > 2_000, "the middle")
        os.kill(consumer.worker_pids()[0], signal.SIGKILL)
        assert consumer.wait() == 0
        assert len(consumer.events("worker_died")) == 1
        assert len(consumer.events("partitions_assigned")) == 1
        (summary,) = consumer.events("summary")
    assert summary["workers_restarted"] == 1
    counts = accepted_ids(upstream)
    assert set(counts) == set(ids)
    assert sum(counts.values()) - len(ids) <= 16, "at most what the dead worker had in flight"
    assert stage.committed() == stage.ends()
    assert stage.dead_letters() == []


def test_a_stop_in_the_middle_and_a_new_start_lose_nothing_and_send_nothing_twice(
    scene: MakeScene, upstream: ScriptedReceiver
) -> None:
    stage = scene("ingest-events")
    ids = produce_events(stage, 10_000)
    with stage.run(upstream) as consumer:
        consumer.wait_until(lambda: len(upstream._requests) > 2_000, "the middle")
        consumer.signal(signal.SIGTERM)
        assert consumer.wait() == 0
        first = consumer.delivered()
    assert 0 < first < 10_000
    assert stage.committed_total() == first == len(upstream.envelopes)
    with stage.run(upstream, "--stop-at-end") as consumer:
        assert consumer.wait() == 0
        assert consumer.delivered() == 10_000 - first
    assert accepted_ids(upstream) == Counter(ids)


def test_one_percent_of_garbage_goes_to_the_dead_letter_topic_byte_for_byte(
    scene: MakeScene, upstream: ScriptedReceiver
) -> None:
    stage = scene("ingest-events")
    randomness = random.Random(7)
    good = {uuid.uuid4().hex for _ in range(4_950)}
    garbage = [randomness.randbytes(randomness.randrange(1, 300)) for _ in range(47)]
    garbage += [b"", b"\x81", b"\x00" * 5_000]
    values: list[bytes | None] = [*(ingest_event(event_id) for event_id in good), *garbage, None]
    randomness.shuffle(values)
    stage.kafka.produce(stage.topic, values, headers=[("a", b"1"), ("a", None)])
    with stage.run(upstream, "--stop-at-end") as consumer:
        assert consumer.wait() == 0
        (summary,) = consumer.events("summary")
    assert accepted_ids(upstream) == Counter(good)
    assert stage.committed() == stage.ends()
    letters = stage.dead_letters()
    assert Counter(value for value, _ in letters) == Counter([*garbage, None])
    originals = {
        (str(m.partition()).encode(), str(m.offset()).encode()): m.value()
        for m in stage.kafka.read(stage.topic)
    }
    for value, headers in letters:
        assert headers["dlq.topic"] == stage.topic.encode()
        assert originals[headers["dlq.partition"], headers["dlq.offset"]] == value
        assert headers["dlq.group"] == stage.group.encode()
        assert headers["dlq.reason"]
    reasons = Counter(headers["dlq.reason"].decode() for _, headers in letters)
    assert summary["dead_lettered"] == dict(reasons)
    assert reasons["tombstone"] == reasons["empty"] == 1


def test_what_an_upstream_rejects_is_dead_lettered_with_its_answer(
    scene: MakeScene, upstream: ScriptedReceiver
) -> None:
    stage = scene("ingest-events", 1)
    ids = produce_events(stage, 300)
    doomed = {ids[10]: 400, ids[20]: 413}
    upstream.respond(
        lambda request: Reply(
            doomed.get(str(request.envelope.event_id), 200), body=b'{"detail":"no such thing"}'
        )
    )
    with stage.run(upstream, "--stop-at-end") as consumer:
        assert consumer.wait() == 0
    letters = [headers for _, headers in stage.dead_letters()]
    assert [headers["dlq.reason"] for headers in letters] == [b"http_400", b"http_413"]
    assert all(b"upstream: " in headers["dlq.detail"] for headers in letters)
    assert all(b"no such thing" in headers["dlq.detail"] for headers in letters)
    assert accepted_ids(upstream) == Counter(set(ids) - set(doomed))
    assert stage.committed() == stage.ends()


def test_without_a_dead_letter_topic_a_rejected_message_stops_the_run_uncommitted(
    scene: MakeScene, upstream: ScriptedReceiver
) -> None:
    stage = scene("ingest-events", 1)
    stage.kafka.produce(stage.topic, [ingest_event(uuid.uuid4().hex), b"garbage"])
    produce_events(stage, 5)
    with stage.run(upstream, "--no-dlq") as consumer:
        assert consumer.wait() == 65
        output = consumer.output()
    assert f"{stage.topic}/0 offset 1 was rejected (invalid_msgpack" in output
    assert ", rejected 1 (invalid_msgpack 1)" in output
    assert "Traceback" not in output
    assert stage.committed_total() <= 1


def test_a_broker_that_restarts_in_the_middle_loses_nothing(
    own_kafka: KafkaBroker, upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    stage = Scene(own_kafka, "ingest-events", own_kafka.create_topic("restarts", 4), tmp_path)
    ids = produce_events(stage, 6_000)
    upstream.respond(Reply(200, delay_s=0.01))
    with stage.run(upstream, "--set", "connections=8") as consumer:
        consumer.wait_until(lambda: len(upstream._requests) > 500, "the middle")
        stage.kafka.stop()
        stage.kafka.start()
        consumer.wait_until(
            lambda: len(accepted_ids(upstream)) == 6_000 and stage.committed() == stage.ends(),
            "everything to be accepted and committed",
            timeout_s=120,  # a client that was replaced waits for its forerunner's session to end
        )
        consumer.signal(signal.SIGTERM)
        assert consumer.wait() == 0
    assert set(accepted_ids(upstream)) == set(ids)


def test_a_second_consumer_shares_the_work_and_nothing_is_lost_when_it_leaves(
    scene: MakeScene, upstream: ScriptedReceiver
) -> None:
    stage = scene("ingest-events")
    upstream.respond(Reply(200, delay_s=0.005))
    ids = produce_events(stage, 6_000)
    arguments = ("--set", "connections=8", "--workers", "1")
    with stage.run(upstream, *arguments) as first:
        first.wait_until(lambda: len(upstream._requests) > 500, "the middle")
        with stage.run(upstream, *arguments) as second:
            own = partitions_of(second)
            # Whatever the first has left: this is the second's.
            later = produce_to_each(stage, 500)
            ids += chain.from_iterable(later.values())
            its = set(chain.from_iterable(later[index] for index in own))
            second.wait_until(
                lambda: not its.isdisjoint(accepted_ids(upstream)), "the second to deliver"
            )
            second.signal(signal.SIGTERM)
            assert second.wait() == 0
            assert second.delivered() > 0
        first.wait_until(lambda: stage.committed() == stage.ends(), "all to be committed")
        first.signal(signal.SIGTERM)
        assert first.wait() == 0
    assert accepted_ids(upstream) == Counter(ids), "a clean handover repeats nothing"


def test_a_consumer_that_was_stopped_for_too_long_gives_up_what_it_had(
    scene: MakeScene, upstream: ScriptedReceiver
) -> None:
    stage = scene("ingest-events", 1)
    ids = produce_events(stage, 300)
    upstream.respond(503)
    session = ("--kafka-config", "session.timeout.ms=6000", "--workers", "1")
    with stage.run(upstream, *session) as owner:
        owner.wait_until(lambda: len(upstream._requests) > 5, "attempts")
        owner.signal(signal.SIGSTOP)
        with stage.run(upstream, *session) as successor:
            assert partitions_of(successor) == [0]
            owner.signal(signal.SIGCONT)
            owner.wait_for("partitions_lost")
            owner.wait_for("abandoned")
            upstream.respond(200)
            successor.wait_until(lambda: stage.committed() == stage.ends(), "all to be committed")
    assert set(accepted_ids(upstream)) == set(ids)


@pytest.mark.parametrize("protocol", ["cooperative", "kip848"])
def test_a_handover_in_an_incremental_group_loses_nothing_and_repeats_nothing(
    scene: MakeScene, upstream: ScriptedReceiver, protocol: str
) -> None:
    setting = {
        "cooperative": "partition.assignment.strategy=cooperative-sticky",
        "kip848": "group.protocol=consumer",
    }[protocol]
    stage = scene("ingest-events")
    upstream.respond(Reply(200, delay_s=0.005))
    ids = produce_events(stage, 6_000)
    arguments = ("--set", "connections=8", "--workers", "1", "--kafka-config", setting)
    with stage.run(upstream, *arguments) as first:
        first.wait_until(lambda: len(upstream._requests) > 500, "the middle")
        with stage.run(upstream, *arguments) as second:
            partitions_of(second)
            # Whatever the first has left: some of this is the second's.
            ids += chain.from_iterable(produce_to_each(stage, 100).values())
            second.wait_until(lambda: stage.committed() == stage.ends(), "all to be committed")
            for consumer in (second, first):
                consumer.signal(signal.SIGTERM)
                assert consumer.wait() == 0
            assert second.delivered() > 0
    assert accepted_ids(upstream) == Counter(ids)


def test_a_standby_without_partitions_keeps_its_heartbeat_and_stops_at_once(
    scene: MakeScene, upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    stage = scene("ingest-events", 1)
    heartbeat = tmp_path / "alive"
    arguments = ("--workers", "1")
    with stage.run(upstream, *arguments) as first:
        first.wait_for("partitions_assigned")
        with stage.run(upstream, *arguments, "--healthcheck-file", str(heartbeat)) as standby:
            standby.wait_for("consuming")
            standby.wait_until(heartbeat.exists, "the first beat")
            for _ in range(3):
                before = heartbeat.stat().st_mtime_ns
                standby.wait_until(
                    partial(lambda old: heartbeat.stat().st_mtime_ns > old, before),
                    "a fresh beat",
                    10,
                )
            standby.signal(signal.SIGTERM)
            assert standby.wait() == 0


def test_the_heartbeat_stops_when_a_partition_with_lag_stands_still_for_no_known_cause(
    scene: MakeScene, upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    """A request that is never answered is no refusal: nothing is known to be wrong."""
    stage = scene("ingest-events", 1)
    heartbeat = tmp_path / "alive"
    produce_events(stage, 10)
    upstream.respond(Reply(200, delay_s=600))
    with stage.run(
        upstream,
        *("--healthcheck-file", str(heartbeat), "--set", "stall_timeout_s=2"),
        *("--set", "request_timeout_s=500"),
    ) as consumer:
        # Workers may still boot when the time is over.
        consumer.wait_until(lambda: len(upstream.requests) == 10, "the requests")
        (stalled,) = consumer.wait_for("partitions_stalled")
        assert stalled["partitions"] == [f"{stage.topic}/0"]
        last = heartbeat.stat().st_mtime_ns
        turns = len(upstream.requests)
        before = len(consumer.events("progress"))
        wait_until(
            lambda: len(consumer.events("progress")) > before,
            timeout_s=30,
            what="the loop to go on",
        )
        assert heartbeat.stat().st_mtime_ns == last
        assert len(upstream.requests) == turns


def test_the_heartbeat_goes_on_while_a_destination_refuses(
    scene: MakeScene, upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    stage = scene("ingest-events", 1)
    heartbeat = tmp_path / "alive"
    produce_events(stage, 10)
    upstream.respond(403)
    with stage.run(
        upstream, "--healthcheck-file", str(heartbeat), "--set", "stall_timeout_s=1"
    ) as consumer:
        consumer.wait_for("destination_paused")
        paused_at = time.time()

        def beats_after(seconds: float) -> None:
            consumer.wait_until(
                lambda: heartbeat.exists() and heartbeat.stat().st_mtime > paused_at + seconds,
                "a fresh beat",
                20,
            )

        # The parent learns of the pause a moment later, and a stall may be reported before. A beat
        # after more than the timeout shows that it knows.
        beats_after(3)
        stalled_before = consumer.events("partitions_stalled")
        beats_after(5)
        assert consumer.events("partitions_stalled") == stalled_before
        assert stage.committed_total() == 0


def test_a_stop_while_the_upstream_is_down_ends_in_time_and_commits_only_what_it_took(
    scene: MakeScene, upstream: ScriptedReceiver
) -> None:
    stage = scene("ingest-events", 1)
    ids = produce_events(stage, 500)
    upstream.respond(lambda request: Reply(503 if len(upstream._requests) >= 100 else 200))
    with stage.run(upstream, "--shutdown-timeout", "4") as consumer:
        consumer.wait_for("destination_backing_off")
        consumer.signal(signal.SIGTERM)
        assert consumer.wait(15) == 0
        assert consumer.events("abandoned")
    accepted = set(accepted_ids(upstream))
    committed = stage.committed_total()
    assert set(ids[:committed]) <= accepted
    upstream.respond(200)
    with stage.run(upstream, "--stop-at-end") as consumer:
        assert consumer.wait() == 0
    assert set(accepted_ids(upstream)) == set(ids)


def test_a_second_signal_ends_at_once_with_its_code(
    scene: MakeScene, upstream: ScriptedReceiver
) -> None:
    stage = scene("ingest-events", 1)
    produce_events(stage, 100)
    upstream.respond(Reply(delay_s=30))
    with stage.run(upstream) as consumer:
        consumer.wait_for("partitions_assigned")
        consumer.wait_until(lambda: len(upstream._requests) > 5, "requests on the wire")
        consumer.signal(signal.SIGTERM)
        (stopping,) = consumer.wait_for("stopping")
        consumer.signal(signal.SIGTERM)
        assert consumer.wait(15) == 143  # the first signal alone would take 25 s
    assert (stopping["at_most_s"], stopping["second_signal"]) == (25.0, "ends at once")
    assert stopping["waits_for"].startswith("messages in flight (")
    assert stage.committed_total() == 0


def test_nothing_is_kept_in_memory_beyond_the_budget_while_the_upstream_is_down(
    scene: MakeScene, upstream: ScriptedReceiver
) -> None:
    """The budget pauses the partitions, polling goes on, and all arrives once it is up again.

    Arroyo polls nothing for five seconds before it pauses, so the interval is some seconds longer.
    """
    stage = scene("ingest-events")
    ids = produce_events(stage, 5_000)
    upstream.respond(503)
    with stage.run(
        upstream,
        *("--max-in-flight-mb", "1", "--kafka-config", "max.poll.interval.ms=8500"),
        *("--kafka-config", "session.timeout.ms=6000", "--stop-at-end"),
        *("--shutdown-timeout", "4"),
    ) as consumer:
        consumer.wait_for("progress")  # after ten seconds
        assert len(consumer.events("partitions_assigned")) == 1
        upstream.respond(200)
        assert consumer.wait() == 0
    assert accepted_ids(upstream) == Counter(ids)
