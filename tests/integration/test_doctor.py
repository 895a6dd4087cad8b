"""``consumer doctor`` on a real cluster, which it only reads, and on a real upstream."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from consumer_fleet.bootstrap.destinations import capture_options
from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.command_options import resolve_cluster
from consumer_fleet.doctor.command import examine
from consumer_fleet.doctor.destination_checks import examine_destination
from consumer_fleet.doctor.finding import Finding
from consumer_fleet.kafka.cluster import Cluster
from tests.conftest import TopicFactory
from tests.support.bugsink import Bugsink
from tests.support.doctor import be_patient
from tests.support.kafka_broker import KafkaBroker
from tests.support.processes import wait_until


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(monkeypatch)


def cluster(kafka: KafkaBroker, topic: str, **options: object) -> ClusterOptions:
    """As ``consumer doctor --topic events`` resolves it, without a destination."""
    named = {"topic": "events", "physical_topic": topic, "group": f"g-{topic}", **options}
    return resolve_cluster(OptionsRequest({"bootstrap_servers": kafka.bootstrap_servers, **named}))


def examined(given: ClusterOptions) -> dict[str, list[Finding]]:
    """Findings by check; the DSN that is missing is left out."""
    found: dict[str, list[Finding]] = {}
    for finding in examine(given, ()):
        if finding.check != "configuration":
            found.setdefault(finding.check, []).append(finding)
    return found


def statuses(found: dict[str, list[Finding]]) -> dict[str, list[str]]:
    kafka = ("kafka.", "topic.", "dead_letters.", "group")
    return {
        check: [each.status for each in findings]
        for check, findings in found.items()
        if check.startswith(kafka)
    }


def topics(kafka: KafkaBroker) -> set[str]:
    return set(kafka.admin.list_topics(timeout=30).topics)


def commit(kafka: KafkaBroker, group: str, topic: str, offset: int) -> None:
    config = kafka.client_config(group_id=group, enable_auto_commit=False)
    client = Consumer(config)
    try:
        client.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    finally:
        client.close()


@contextmanager
def member(kafka: KafkaBroker, group: str, topics: list[str], client_id: str) -> Iterator[None]:
    """Somebody in the group, who has partitions by the time that the block begins."""
    client = Consumer(kafka.client_config(group_id=group, client_id=client_id))
    client.subscribe(topics)

    def has_partitions() -> bool:
        client.poll(0.1)
        return bool(client.assignment())

    wait_until(has_partitions, timeout_s=30, what="an assignment")
    try:
        yield
    finally:
        client.close()


def test_a_cluster_that_is_ready_is_fine_and_stays_as_it_is(own_kafka: KafkaBroker) -> None:
    name = own_kafka.create_topic("t", 2)
    own_kafka.produce(name, [b"x"] * 3, partition=0)
    given = cluster(own_kafka, name)
    before = topics(own_kafka)
    found = examined(given)
    assert statuses(found) == {
        "kafka.server": ["ok"],
        "kafka.login": ["ok"],
        "kafka.cluster": ["ok"],
        "topic.exists": ["ok"],
        "topic.retention": ["ok"],
        "topic.clock": ["ok"],
        "topic.access": ["ok"],
        "group.access": ["ok"],
        "dead_letters.exists": ["ok"],
        "group.members": ["ok"],
        "group.position": ["ok"],
        "group.lag": ["ok"],
    }
    assert "KIP-848 groups: yes" in found["kafka.server"][0].seen
    assert "the first run creates it" in found["dead_letters.exists"][0].seen
    assert topics(own_kafka) - before <= {"__consumer_offsets"}, "it made a topic"
    assert own_kafka.committed(f"g-{name}", name) == {}, "it committed"


def test_the_dead_letter_topic_that_the_start_makes_is_fine(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    name = topic(config={"max.message.bytes": 2_000_000})
    given = cluster(kafka, name)
    Cluster(given.kafka).ensure_dead_letter_topic(f"{name}-dlq", name)
    found = statuses(examined(given))
    assert {check: found[check] for check in found if check.startswith("dead_letters.")} == {
        "dead_letters.exists": ["ok"],
        "dead_letters.access": ["ok"],
    }


def test_a_dead_letter_topic_that_loses_is_reported(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    name = topic()
    own = topic(config={"retention.ms": "60000", "max.message.bytes": 5000})
    found = statuses(examined(cluster(kafka, name, dlq_topic=own)))
    assert found["dead_letters.retention"] == ["warning"]
    assert found["dead_letters.size"] == ["warning"]


def test_a_topic_that_is_missing_is_a_problem_and_is_not_created(kafka: KafkaBroker) -> None:
    found = examined(cluster(kafka, "no-such-topic"))
    assert [each.status for each in found["topic.exists"]] == ["problem"]
    assert "--create --topic no-such-topic" in found["topic.exists"][0].fix
    assert "group.position" not in found
    assert not {"no-such-topic", "no-such-topic-dlq"} & topics(kafka)


def test_messages_that_are_deleted_before_they_are_read_are_reported_with_the_way_out(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    name = topic(2)
    kafka.produce(name, [b"x"] * 100, partition=0)
    commit(kafka, f"g-{name}", name, 10)
    kafka.delete_records(name, {0: 50})
    (finding,) = examined(cluster(kafka, name))["group.position"]
    assert finding.status == "problem"
    assert "OffsetOutOfRange" in finding.seen
    assert "40 offsets are lost" in finding.seen
    assert finding.fix.splitlines()[-1] == (
        f"consumer offsets reset --group g-{name} --topic {name} --to earliest"
    )
    assert kafka.committed(f"g-{name}", name) == {0: 10}


def test_somebody_else_in_the_group_is_a_problem_and_one_of_ours_is_not(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    name, other = topic(2), topic(1, prefix="other")
    given = cluster(kafka, name)
    with member(kafka, f"g-{name}", [name], "consumer-fleet"):
        assert statuses(examined(given))["group.members"] == ["ok"]
    with member(kafka, f"g-{name}", [name], "somebody"):
        (finding,) = examined(given)["group.members"]
        assert finding.status == "problem"
        assert "somebody on 127.0.0.1" in finding.seen
    with member(kafka, f"g-{name}", [other], "consumer-fleet"):
        assert statuses(examined(given))["group.members"] == ["problem"]


def test_an_examination_does_not_disturb_the_group(kafka: KafkaBroker, topic: TopicFactory) -> None:
    name = topic(2)
    config = kafka.client_config(group_id=f"g-{name}", client_id="consumer-fleet")
    client = Consumer(config)
    rebalances: list[Any] = []
    client.subscribe([name], on_assign=lambda _, places: rebalances.append(places))
    wait_until(
        lambda: client.poll(0.1) is None and bool(client.assignment()),
        timeout_s=30,
        what="an assignment",
    )
    try:
        examined(cluster(kafka, name))
        client.poll(1.0)
        assert len(rebalances) == 1
        assert len(client.assignment()) == 2
    finally:
        client.close()


def test_a_message_from_the_future_is_reported(kafka: KafkaBroker, topic: TopicFactory) -> None:
    name = topic()
    # Not by more than an hour: a broker takes none of those.
    kafka.produce(name, [b"x"], timestamp_ms=int((time.time() + 1800) * 1000))
    (finding,) = examined(cluster(kafka, name))["topic.clock"]
    assert finding.status == "warning"
    assert "ahead of this machine's clock" in finding.seen


def test_an_address_that_the_cluster_advertises_has_to_be_reachable(
    kafka: KafkaBroker, topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = Cluster.connect

    def find_another(client: Cluster) -> str | None:
        failure = connect(client)
        client.brokers[2] = "127.0.0.1:1"
        return failure

    monkeypatch.setattr(Cluster, "connect", find_another)
    found = examined(cluster(kafka, topic()))["kafka.server"]
    assert [(each.subject, each.status) for each in found] == [
        (kafka.bootstrap_servers, "ok"),
        ("127.0.0.1:1", "problem"),
    ]
    assert "advertises this address" in found[1].seen
    assert "advertised.listeners" in found[1].fix


def test_bugsink_accepts_the_report_and_keeps_nothing_of_it(bugsink: Bugsink) -> None:
    # No other test sends anything to this project.
    dsn = Dsn.parse(bugsink.quiet_dsn)
    options = resolve_options(OptionsRequest({"upstream_dsn": bugsink.quiet_dsn}), {}).options
    (destination,) = capture_options(options).destinations
    found = {each.check: each for each in examine_destination(destination)}
    assert found["destination.answer"].status == "ok", found
    assert found["destination.clock"].status == "ok"
    assert str(dsn.project_id) not in {str(event.project) for event in bugsink.events()}


def test_a_key_that_bugsink_does_not_know_is_a_problem(bugsink: Bugsink) -> None:
    key = bugsink.dsn.split("//")[1].split("@")[0]
    wrong = bugsink.dsn.replace(key, key[::-1])
    options = resolve_options(OptionsRequest({"upstream_dsn": wrong}), {}).options
    (destination,) = capture_options(options).destinations
    found = {each.check: each for each in examine_destination(destination)}
    assert found["destination.answer"].status == "problem"
    assert "answers 403" in found["destination.answer"].seen
    assert key[::-1] not in str(found)
