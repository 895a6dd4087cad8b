"""The librdkafka settings that a user may set, and the clients that they reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer

from consumer_fleet.errors import ConfigurationError
from consumer_fleet.kafka.clients import (
    admin_config,
    client_config,
    consumer_config,
    make_client,
    producer_config,
    rdkafka_log,
    unjoined_config,
)
from consumer_fleet.kafka.cluster import Cluster
from consumer_fleet.kafka.consumer import ChunkConsumer
from consumer_fleet.kafka.dead_letters import DeadLetterProducer

CONSUMER_SETTINGS = {
    "group.instance.id": "pod-1",
    "group.protocol": "classic",
    "session.timeout.ms": "10000",
    "heartbeat.interval.ms": "1000",
    "max.poll.interval.ms": "60000",
    "partition.assignment.strategy": "cooperative-sticky",
    "isolation.level": "read_uncommitted",
    "fetch.min.bytes": "1000",
    "max.partition.fetch.bytes": "100000",
    "queued.min.messages": "10",
    "check.crcs": "true",
    "auto.commit.interval.ms": "1000",
}


def make_consumer(config: dict[str, Any]) -> object:
    return ChunkConsumer(
        consumer_config(config, "group"),
        offset_policy="earliest",
        on_failure=lambda _: None,
        on_poll=lambda: None,
        on_offsets_lost=lambda *_: None,
    )


def make_producer(config: dict[str, Any]) -> DeadLetterProducer:
    return DeadLetterProducer(config, "dlq", "group", on_failure=lambda _: None)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("group.id", "use --group"),
        ("auto.offset.reset", "use --auto-offset-reset"),
        ("enable.auto.commit", "only after delivery"),
        ("enable.auto.offset.store", "only after delivery"),
        ("enable.partition.eof", "to know a partition's end"),
        ("transactional.id", "without transactions"),
    ],
)
def test_a_setting_that_the_program_owns_is_refused_with_what_to_use(
    name: str, instead: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        client_config("kafka:9092", {name: "x"})
    assert f"'{name}' can't be set" in str(caught.value)
    assert instead in str(caught.value)


def test_a_setting_of_the_user_beats_a_default_of_ours() -> None:
    base = client_config(
        "kafka:9092", {"client.id": "mine", "queued.max.messages.kbytes": "1", "linger.ms": "50"}
    )
    assert base["bootstrap.servers"] == "kafka:9092"
    assert consumer_config(base, "group")["client.id"] == "mine"
    assert consumer_config(base, "group")["queued.max.messages.kbytes"] == "1"
    assert producer_config(base)["linger.ms"] == "50"


def test_no_setting_of_the_user_changes_what_delivery_depends_on() -> None:
    base = {"enable.idempotence": "false", "acks": "0", "allow.auto.create.topics": "true"}
    assert producer_config(base)["enable.idempotence"] is True
    assert producer_config(base)["acks"] == "all"
    assert admin_config(base)["allow.auto.create.topics"] is False
    config = consumer_config({}, "group")
    assert config["group.id"] == "group"
    assert config["enable.auto.commit"] is False
    assert config["enable.auto.offset.store"] is False
    assert config["auto.offset.reset"] == "error"
    assert config["enable.partition.eof"] is True


@pytest.mark.parametrize("of", [producer_config, admin_config])
def test_a_consumer_s_settings_stay_with_the_consumer(
    of: Callable[[dict[str, str]], dict[str, Any]],
) -> None:
    base = client_config("kafka:9092", CONSUMER_SETTINGS)
    assert not CONSUMER_SETTINGS.keys() & of(base).keys()
    config = consumer_config(base, "group")
    assert {name: config[name] for name in CONSUMER_SETTINGS} == CONSUMER_SETTINGS


def test_librdkafka_has_nothing_to_say_of_the_producer_s_settings(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The throttle is the process's: another test may have had the same line logged.
    monkeypatch.setattr(rdkafka_log, "filters", [])
    producer = make_producer(client_config("", CONSUMER_SETTINGS))
    producer.poll(0.05)
    assert "is a consumer property" not in caplog.text
    make_client(Producer, {"session.timeout.ms": "10000"}).poll(0.05)
    assert "is a consumer property" in caplog.text, "what it does have to say is in the log"


def test_a_client_that_joins_no_group_has_no_settings_of_a_membership() -> None:
    membership = {
        "group.instance.id": "pod-1",
        "group.protocol": "consumer",
        "group.remote.assignor": "uniform",
    }
    config = unjoined_config(client_config("", {**membership, "client.id": "mine"}))
    assert not membership.keys() & config.keys()
    assert config["client.id"] == "mine"
    assert config["enable.auto.commit"] is False
    make_client(Consumer, config).close()


@pytest.mark.parametrize("make", [make_consumer, make_producer, Cluster])
def test_a_setting_that_librdkafka_does_not_know_is_the_user_s_error(
    make: Callable[[dict[str, Any]], object],
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(client_config("kafka:9092", {"sasl.mechanismus": "PLAIN"}))
    assert "kafka_config" in str(caught.value)
    assert "sasl.mechanismus" in str(caught.value)
    assert isinstance(caught.value.__cause__, KafkaException)


@pytest.mark.parametrize("make", [make_consumer, make_producer, Cluster])
def test_a_value_that_librdkafka_refuses_is_the_user_s_error(
    make: Callable[[dict[str, Any]], object],
) -> None:
    with pytest.raises(ConfigurationError, match=r"security\.protocol"):
        make(client_config("kafka:9092", {"security.protocol": "carrier-pigeon"}))


def test_a_client_s_error_points_at_librdkafka_s_own_documentation() -> None:
    with pytest.raises(ConfigurationError, match=r"acks.*CONFIGURATION\.md"):
        make_client(Producer, {"acks": "maybe"})
