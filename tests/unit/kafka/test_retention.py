"""The time until retention deletes waiting messages: by time, by size, or never."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from consumer_fleet.kafka.retention import Loss, Retention, parse_retention, retention_of

NOW_S = 1_700_000_000.0
HOUR_MS = 3_600_000


def stamp(hours_ago: float) -> int:
    return int(NOW_S * 1000 - hours_ago * HOUR_MS)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"retention.ms": "604800000", "retention.bytes": "-1", "cleanup.policy": "delete"},
            Retention(604_800_000, None, "delete"),
        ),
        (
            {"retention.ms": "-1", "retention.bytes": "1073741824", "cleanup.policy": "compact"},
            Retention(None, 1 << 30, "compact"),
        ),
        ({}, Retention(None, None, "delete")),
        ({"retention.ms": "0"}, Retention(0, None, "delete")),
    ],
)
def test_settings_are_read_as_kafka_writes_them(
    settings: dict[str, str], expected: Retention
) -> None:
    assert parse_retention(settings) == expected


def test_a_message_is_lost_to_time_once_it_is_as_old_as_the_retention() -> None:
    retention = Retention(10 * HOUR_MS, None)
    assert retention.time_to_loss_s(stamp(4), NOW_S) == 6 * 3600
    assert retention.time_to_loss_s(stamp(10), NOW_S) == 0
    assert retention.time_to_loss_s(stamp(400), NOW_S) == 0, "at any moment, not in the past"


@pytest.mark.parametrize(
    "retention", [Retention(None, None), Retention(HOUR_MS, 1000, cleanup_policy="compact")]
)
def test_nothing_expires_without_a_limit_or_where_a_topic_is_only_compacted(
    retention: Retention,
) -> None:
    assert retention.time_to_loss_s(stamp(4), NOW_S) is None
    assert retention.loss(stamp(4), NOW_S, waiting=5, mean_bytes=1e9) is None


def test_a_topic_that_is_compacted_and_deleted_expires() -> None:
    retention = Retention(HOUR_MS, None, "compact,delete")
    assert retention.compacts
    assert retention.time_to_loss_s(stamp(0.5), NOW_S) == 1800


def test_a_message_without_a_timestamp_has_no_known_end() -> None:
    assert Retention(HOUR_MS, None).time_to_loss_s(None, NOW_S) is None
    assert Retention(HOUR_MS, 10).loss(None, NOW_S, waiting=1, mean_bytes=1) is None


def test_a_message_is_lost_to_size_once_as_many_bytes_as_are_kept_are_behind_it() -> None:
    retention = Retention(None, 108_000)
    # 500 messages of 108 stored bytes in two hours: half of what is kept.
    loss = retention.loss(stamp(2), NOW_S, waiting=500, mean_bytes=100)
    assert loss == Loss(2 * 3600, "size")
    assert retention.loss(stamp(2), NOW_S, waiting=5000, mean_bytes=100) == Loss(0, "size")


def test_what_comes_first_counts() -> None:
    retention = Retention(3 * HOUR_MS, 108_000)
    assert retention.loss(stamp(2), NOW_S, waiting=500, mean_bytes=100) == Loss(3600, "time")
    assert retention.loss(stamp(2), NOW_S, waiting=800, mean_bytes=100) == Loss(1800, "size")


def test_a_tenth_of_the_retention_is_low_and_an_hour_where_time_is_unlimited() -> None:
    assert Retention(10 * HOUR_MS, None).low_s == 3600
    assert Retention(None, 1000).low_s == 3600


def test_a_retention_that_may_not_be_read_is_unknown() -> None:
    read = retention_of("events").read
    answered: Future[Any] = Future()
    answered.set_result({"retention.ms": SimpleNamespace(value="5000")})
    assert read(answered, None) == Retention(5000, None)
    refused: Future[Any] = Future()
    refused.set_exception(KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))
    assert read(refused, Retention(5000, None)) is None
