"""``consumer record`` and ``replay`` on a real Kafka: what comes back is what was there."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import monotonic

import orjson
import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from consumer_fleet.errors import RecordingError
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.recording.reader import Recording
from tests.conftest import TopicFactory
from tests.support.consumer_process import CONSUMER, clean_environment, run_command
from tests.support.kafka_broker import KafkaBroker
from tests.support.processes import ManagedProcess, wait_until
from tests.support.recordings import random_pairs, write_recording

PARTITIONS = 4
MANY = 200_000
# Old timestamps are kept: the broker would delete them otherwise.
KEEP = {"retention.ms": -1}
FIRST_MS = 1_700_000_000_000


def mixed(count: int, seed: int = 1) -> Iterator[tuple[int, Record]]:
    """Of all kinds, by turns; a quarter in a partition of their own key's choice."""
    chance = random.Random(seed)
    values = [chance.randbytes(chance.randrange(1, 400)) for _ in range(500)]
    for number in range(count):
        value = None if number % 53 == 0 else b"" if number % 59 == 0 else values[number % 500]
        key = None if number % 7 == 0 else b"" if number % 11 == 0 else b"key %d" % (number % 97)
        headers = (("a", None), ("a", b"%d" % number), ("a", b"")) if number % 5 == 0 else ()
        yield (
            chance.choice((0, 0, 1, 3)),
            Record(number, FIRST_MS + number * 3 + chance.randrange(100), key, value, headers),
        )


def fill(kafka: KafkaBroker, topic: str, pairs: Iterable[tuple[int, Record]]) -> None:
    producer = Producer(kafka.client_config(enable_idempotence=True, linger_ms=20))
    for index, record in pairs:
        while True:
            try:
                producer.produce(
                    topic,
                    record.value,
                    record.key,
                    index,
                    timestamp=record.timestamp_ms or 0,
                    headers=list(record.headers),
                )
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(30) == 0


def everything(kafka: KafkaBroker, topic: str) -> Iterator[Message]:
    """What the topic holds, each partition in its order."""
    client = Consumer(
        kafka.client_config(group_id="none", enable_auto_commit=False, enable_partition_eof=True)
    )
    places = [TopicPartition(topic, index, 0) for index in kafka.partitions(topic)]
    client.assign(places)
    ends = 0
    while ends < len(places):
        for message in client.consume(1000, 0.2):
            error = message.error()
            if error is None:
                yield message
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
                ends += 1
    client.close()


def digests(messages: Iterable[Message]) -> dict[int, tuple[int, str]]:
    """By partition: how many messages, and a digest of all that they are, in their order."""
    found: dict[int, tuple[int, hashlib._Hash]] = {}
    for message in messages:
        index = message.partition() or 0
        count, digest = found.get(index, (0, hashlib.sha256()))
        fields = (message.key(), message.value(), message.headers(), message.timestamp())
        digest.update(repr(fields).encode())
        found[index] = (count + 1, digest)
    return {index: (count, digest.hexdigest()) for index, (count, digest) in found.items()}


def groups(kafka: KafkaBroker) -> set[str]:
    listed = kafka.admin.list_consumer_groups().result(30)
    return {group.group_id for group in listed.valid}


def consumer(kafka: KafkaBroker, *arguments: str, code: int = 0) -> str:
    """Its output; what went to stderr where the code is another than 0."""
    run = run_command(*arguments, "--bootstrap-servers", kafka.bootstrap_servers)
    assert run.returncode == code, run.stderr
    return run.stderr if code else run.stdout


def test_200_000_messages_come_back_whole_and_in_order_and_no_group_is_left(
    own_kafka: KafkaBroker, tmp_path: Path
) -> None:
    source, target = own_kafka.create_topic("t", PARTITIONS, KEEP), "copy"
    fill(own_kafka, source, mixed(MANY))
    groups_before = groups(own_kafka)
    path = str(tmp_path / "all.recording")
    said = consumer(own_kafka, "record", "--topic", source, "-o", path, "--json")
    summary = json.loads(said)
    assert summary["messages"] == MANY
    assert set(summary["partitions"]) == {"0", "1", "3"}
    said = consumer(own_kafka, "replay", path, "--to-topic", target, "--create")
    assert f"replayed {MANY:,} messages" in said
    assert groups(own_kafka) == groups_before
    assert len(own_kafka.partitions(target)) == PARTITIONS
    assert digests(everything(own_kafka, target)) == digests(everything(own_kafka, source))


def test_a_cut_recording_replays_all_of_its_whole_blocks(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    source, target = topic(2, KEEP), topic(2, KEEP)
    chance = random.Random(2)
    pairs = [
        (n % 2, Record(n, FIRST_MS + n, b"k", chance.randbytes(50_000), ())) for n in range(80)
    ]
    fill(kafka, source, pairs)
    path = tmp_path / "r"
    consumer(kafka, "record", "--topic", source, "-o", str(path))
    path.write_bytes(path.read_bytes()[:-300_000])
    said = consumer(kafka, "replay", str(path), "--to-topic", target, code=65)
    replayed = len(kafka.read(target))
    assert 40 <= replayed < 80
    assert f"{replayed} messages are readable up to byte" in said


def test_a_filter_and_a_limit_choose_what_is_recorded(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    source = topic(2, KEEP)
    values = [{"level": "error" if n % 3 == 0 else "info", "n": n} for n in range(90)]
    pairs = [
        (n % 2, Record(n, FIRST_MS + n, b"%d" % n, orjson.dumps(value), ()))
        for n, value in enumerate(values)
    ]
    fill(kafka, source, pairs)
    path = tmp_path / "r"
    expression = "message.level == 'error' && !(key == '0' || message.n > `60`)"
    consumer(
        kafka, "record", "--topic", source, "-o", str(path), "--filter", expression, "--limit", "15"
    )
    recording = Recording(path)
    found = [orjson.loads(record.value or b"")["n"] for _, record in recording.messages()]
    assert len(found) == 15
    assert set(found) <= set(range(3, 61, 3))
    assert recording.header.filter == expression
    assert recording.header.limit == 15
    said = consumer(
        kafka, "record", "--topic", source, "-o", str(tmp_path / "x"), "--filter", "key = (", code=2
    )
    assert "use == to compare\n  key = (\n      ^\n" in said
    assert not (tmp_path / "x").exists()


def test_a_scrubbed_recording_holds_nothing_personal(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    source = topic(1, KEEP)
    event = {"event_id": "a" * 32, "user": {"email": "jane@doe.example"}, "level": "error"}
    envelope = b'{}\n{"type":"event"}\n' + orjson.dumps(event)
    headers = (("who", b"jane@doe.example"),)
    whole = Record(0, FIRST_MS, b"jane", envelope, headers)
    fill(kafka, source, [(0, whole), (0, Record(1, FIRST_MS, None, b"jane", ()))])
    path = tmp_path / "r"
    command = ("record", "--topic", source, "-o", str(path), "--scrub")
    assert "--format" in consumer(kafka, *command, code=2)
    said = consumer(kafka, *command, "--format", "envelopes")
    assert "replaced as a whole because they can't be parsed: 1" in said
    recording = Recording(path)
    records = [record for _, record in recording.messages()]
    assert recording.header.scrubbed
    assert recording.header.consumer == "envelopes"
    assert b"jane" not in repr(records).encode()
    assert b'"level":"error"' in (records[0].value or b"")


def test_a_range_is_recorded_by_places_and_partitions(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    source = topic(3, KEEP)
    day_ms = 86_400_000
    pairs = [(n % 3, Record(n, FIRST_MS + n * day_ms, None, b"%d" % n, ())) for n in range(30)]
    fill(kafka, source, pairs)

    def recorded(*arguments: str) -> list[tuple[int, int]]:
        path = tmp_path / "r"
        consumer(kafka, "record", "--topic", source, "-o", str(path), "--force", *arguments)
        return sorted((index, record.offset) for index, record in Recording(path).messages())

    assert recorded("--from", "8") == [(p, o) for p in range(3) for o in (8, 9)]
    assert recorded("--from", "2", "--to", "4", "--partition", "1", "--partition", "2") == [
        (p, o) for p in (1, 2) for o in (2, 3)
    ]
    # 2023-11-14T22:13 is the first; a time in between, to another.
    assert recorded("--from", "2023-11-17", "--to", "2023-11-19") == [(0, 1), (1, 1)]


def test_what_was_asked_for_and_is_gone_is_in_the_summary_and_in_the_log(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    source, path = topic(2, KEEP), str(tmp_path / "r")
    pairs = [(n % 2, Record(n, FIRST_MS, None, b"x", ())) for n in range(60)]
    fill(kafka, source, pairs)
    kafka.delete_records(source, {0: 20})
    place = ("--topic", source, "-o", path, "--from", "5", "--to", "25", "--force")
    run = run_command("record", *place, "--bootstrap-servers", kafka.bootstrap_servers, "--json")
    assert run.returncode == 0, run.stderr
    document = json.loads(run.stdout)
    assert (document["partitions"], document["gone"]) == ({"0": 5, "1": 20}, {"0": 15})
    assert Recording(Path(path)).header.ranges == {0: (20, 25), 1: (5, 25)}
    (warning,) = [line for line in run.stderr.splitlines() if "offsets_gone" in line]
    assert '"asked_for": 5' in warning
    said = consumer(kafka, "record", *place)
    assert "deleted by Kafka before they were recorded: 15 offsets" in said


def test_an_empty_range_writes_nothing_and_says_what_the_topic_has(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    source, path = topic(2, KEEP), tmp_path / "r"
    fill(kafka, source, [(1, Record(0, FIRST_MS, None, b"x", ()))])
    said = consumer(kafka, "record", "--topic", source, "-o", str(path), "--from", "latest", code=1)
    assert "0: none, 1: 0 to 1" in said
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_named(kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path) -> None:
    source, path = topic(2, KEEP), tmp_path / "r"
    fill(kafka, source, [(0, Record(0, FIRST_MS, None, b"x", ()))])
    said = consumer(kafka, "record", "--topic", "no-such", "-o", str(path), code=78)
    assert "'no-such'" in said
    consumer(kafka, "record", "--topic", source, "-o", str(path))
    assert "exists" in consumer(kafka, "record", "--topic", source, "-o", str(path), code=74)
    nowhere = str(tmp_path / "no" / "r")
    assert "No such file" in consumer(kafka, "record", "--topic", source, "-o", nowhere, code=74)
    replay = ("replay", str(path), "--to-topic")
    assert "--create" in consumer(kafka, *replay, "no-such", code=78)
    assert "--partition-by key" in consumer(kafka, *replay, topic(1), code=78)
    assert "--yes" in consumer(kafka, *replay, source, code=2)
    consumer(kafka, *replay, source, "--yes")
    assert len(kafka.read(source)) == 2


def test_a_replay_to_brokers_that_are_away_says_within_seconds_what_to_check(
    tmp_path: Path,
) -> None:
    path = write_recording(tmp_path / "r", random_pairs(1, 5))
    started = monotonic()  # a client's own patience is minutes
    run = run_command("replay", str(path), "--to-topic", "t", "--bootstrap-servers", "127.0.0.1:9")
    assert run.returncode == 69
    assert "no Kafka broker answers at 127.0.0.1:9" in run.stderr
    assert "check --bootstrap-servers" in run.stderr
    assert monotonic() - started < 30


def test_the_source_is_recognised_under_another_name(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    source, path = topic(1, KEEP), tmp_path / "r"
    fill(kafka, source, [(0, Record(0, FIRST_MS, None, b"x", ()))])
    alias = ("--set", f"snuba_topic_map=events={source}")
    consumer(kafka, "record", "--topic", "events", "-o", str(path), *alias)
    assert Recording(path).header.topic == source
    assert Recording(path).header.consumer == "events"
    assert "--yes" in consumer(kafka, "replay", str(path), "--to-topic", "events", *alias, code=2)


def test_keys_decide_as_in_javas_clients_where_that_is_wanted(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    source, target = topic(1, KEEP), topic(4, KEEP)
    keys = [b"21", b"foobar", b"a-little-bit-long-string", b"a-little-bit-longer-string"]
    fill(kafka, source, [(0, Record(n, FIRST_MS, key, b"x", ())) for n, key in enumerate(keys)])
    consumer(kafka, "replay", "--topic", source, "--to-topic", target, "--partition-by", "key")
    # Kafka's own UtilsTest says what murmur2 of these keys is.
    hashes = (-973932308, -790332482, -985981536, -1486304829)
    expected = {key: (number & 0x7FFFFFFF) % 4 for key, number in zip(keys, hashes, strict=True)}
    assert {message.key(): message.partition() for message in kafka.read(target)} == expected


def test_a_topic_is_replayed_from_place_to_place(kafka: KafkaBroker, topic: TopicFactory) -> None:
    source, target = topic(2, KEEP), topic(2, KEEP)
    fill(kafka, source, mixed_in_two(40))
    places = ("--from", "5", "--to", "9")
    said = consumer(kafka, "replay", "--topic", source, "--to-topic", target, *places, "--json")
    assert json.loads(said)["messages"] == 8
    assert digests(kafka.read(target)) == digests(
        message for message in kafka.read(source) if 5 <= (message.offset() or 0) < 9
    )


def mixed_in_two(count: int) -> Iterator[tuple[int, Record]]:
    return ((n % 2, record) for n, (_, record) in enumerate(mixed(count)))


def test_a_message_that_the_target_refuses_ends_the_replay_with_what_was_sent(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    source, target = topic(1, KEEP), topic(1, KEEP | {"max.message.bytes": 2000})
    # Nothing behind it: librdkafka may send such messages again before they are purged.
    sizes = [10] * 5 + [5000]
    chance = random.Random(1)
    values = [chance.randbytes(size) for size in sizes]
    fill(kafka, source, [(0, Record(n, FIRST_MS, None, v, ())) for n, v in enumerate(values)])
    run = run_command(
        "replay", "--topic", source, "--to-topic", target,
        "--bootstrap-servers", kafka.bootstrap_servers, "--kafka-config", "batch.num.messages=1",
    )  # fmt: skip
    assert run.returncode == 65
    assert "refused a message" in run.stderr
    assert len(kafka.read(target)) == 5
    assert "failed: replayed 5 messages" in run.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_paced_replay_keeps_the_distances_and_ends_at_a_signal(
    kafka: KafkaBroker,
    topic: TopicFactory,
    tmp_path: Path,
    number: signal.Signals,
    code: int,
) -> None:
    source, target = topic(2, KEEP), topic(2, KEEP)
    hour_ms = 3_600_000
    times = [FIRST_MS + at for at in (0, 300, 600, hour_ms)]
    fill(kafka, source, [(n % 2, Record(n, at, None, b"x", ())) for n, at in enumerate(times)])
    with_signal = ManagedProcess(
        "replay",
        [CONSUMER, "replay", "--topic", source, "--to-topic", target, "--speed", "1x",
         "--bootstrap-servers", kafka.bootstrap_servers],
        log=tmp_path / "log",
        env=clean_environment(),
        cwd=tmp_path,
    )  # fmt: skip
    wait_until(lambda: len(kafka.read(target)) == 3, timeout_s=30, what="what is due")
    os.kill(with_signal.pid, number)
    assert with_signal.wait(20) == code
    assert "interrupted: replayed 3 messages" in with_signal.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_completes_the_recording_with_what_it_has(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path, number: signal.Signals
) -> None:
    source, path = topic(2, KEEP), tmp_path / "r"
    pairs = list(mixed_in_two(100))
    fill(kafka, source, pairs)
    process = ManagedProcess(
        "record",
        [CONSUMER, "record", "--topic", source, "-o", str(path), "--follow",
         "--bootstrap-servers", kafka.bootstrap_servers],
        log=tmp_path / "log",
        env=clean_environment(),
        cwd=tmp_path,
    )  # fmt: skip
    partial = path.with_name("r.partial")

    def readable() -> int:
        try:
            return sum(1 for _ in Recording(partial).messages()) if partial.exists() else 0
        except RecordingError as error:
            words = str(error).split()
            return int(words[words.index("messages") - 1]) if "messages" in words else 0

    # What comes late is in the file soon, while it goes on.
    wait_until(lambda: readable() == 100, timeout_s=30, what="the first messages in the file")
    fill(kafka, source, pairs[:10])
    wait_until(lambda: readable() == 110, timeout_s=30, what="the later messages in the file")
    os.kill(process.pid, number)
    assert process.wait(20) == 0
    assert "interrupted: recorded 110 messages" in process.log.read_text()
    assert sum(1 for _ in Recording(path).messages()) == 110
    assert not partial.exists()
