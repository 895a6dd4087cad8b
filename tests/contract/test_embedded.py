"""The embedded demonstration: a broker with messages in it, a receiver, and nothing left after."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer, TopicPartition

from consumer_fleet.consumers.registry import CONSUMERS
from consumer_fleet.kafka.mock_cluster import PARTITIONS
from consumer_fleet.run.demonstration import Embedded
from tests.support.processes import wait_until


@contextmanager
def connected(embedded: Embedded) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": embedded.bootstrap_servers,
            "group.id": "readers",
            "log.connection.close": False,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def messages_in(consumer: Consumer, topic: str) -> int:
    ends = [
        consumer.get_watermark_offsets(TopicPartition(topic, index), timeout=10)
        for index in range(PARTITIONS)
    ]
    return sum(high - low for low, high in ends)


def is_refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def trickles() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "trickle"]


def test_the_messages_are_there_from_the_start_and_more_follow() -> None:
    with (
        Embedded("events", preloaded=40, per_second=200) as embedded,
        connected(embedded) as consumer,
    ):
        assert messages_in(consumer, "events") >= 40
        wait_until(
            lambda: messages_in(consumer, "events") >= 60, timeout_s=20, what="20 more messages"
        )
    assert not trickles()


def test_a_run_that_stops_at_the_end_gets_an_end() -> None:
    with Embedded("events", trickle=False, preloaded=40) as embedded:
        assert not trickles()
        with connected(embedded) as consumer:
            assert messages_in(consumer, "events") == 40


@pytest.mark.parametrize("topic", [each.logical_topic for each in CONSUMERS])
def test_the_default_load_fits_the_embedded_broker(topic: str) -> None:
    with Embedded(topic, trickle=False) as embedded, connected(embedded) as consumer:
        assert messages_in(consumer, topic) == 2000


def test_the_topics_that_the_options_name_are_there_before_anything_asks_for_them() -> None:
    with (
        Embedded("events", trickle=False, preloaded=4) as plain,
        connected(plain) as consumer,
    ):
        assert set(consumer.list_topics(timeout=10).topics) == {"events", "events-dlq"}
    with (
        Embedded(
            "events",
            physical_topic="replay",
            dead_letter_topic="letters",
            trickle=False,
            preloaded=4,
        ) as renamed,
        connected(renamed) as consumer,
    ):
        assert set(consumer.list_topics(timeout=10).topics) == {"replay", "letters"}
        assert messages_in(consumer, "replay") == 4


def test_nothing_listens_any_more_after_close() -> None:
    embedded = Embedded("envelopes", preloaded=4)
    host, port = embedded.bootstrap_servers.split(":")
    addresses = [(host, int(port)), ("127.0.0.1", embedded.receiver.dsn.port)]
    assert not any(is_refused(address) for address in addresses)
    embedded.close()
    wait_until(
        lambda: all(is_refused(address) for address in addresses),
        timeout_s=10,
        what="both to be gone",
    )


def test_the_banner_says_that_nothing_is_kept_and_what_makes_it_real() -> None:
    with Embedded("events", preloaded=4, trickle=False) as embedded:
        banner = embedded.banner()
        assert "demonstration" in banner
        assert "Nothing is kept" in banner
        for option in ("--bootstrap-servers", "--upstream-dsn"):
            assert option in banner
        for variable in ("CONSUMER_BOOTSTRAP_SERVERS", "CONSUMER_UPSTREAM_DSN"):
            assert variable in banner
        assert banner.rstrip().endswith(embedded.receiver.url)
        assert embedded.receiver.dsn.public_key not in banner
