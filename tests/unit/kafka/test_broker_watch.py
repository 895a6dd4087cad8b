"""Broken connections are named, once in a while; a client that knows no broker is noticed."""

from __future__ import annotations

import json

import pytest
from confluent_kafka import KafkaError
from structlog.testing import capture_logs

from consumer_fleet.kafka.broker_watch import BrokerWatch
from tests.support.clock import ManualClock


def told(*documents: tuple[str, ...]) -> BrokerWatch:
    """A watch that got statistics with brokers of these sources."""
    watch = BrokerWatch()
    for sources in documents:
        brokers = {str(n): {"source": source} for n, source in enumerate(sources)}
        watch.settings["stats_cb"](json.dumps({"brokers": brokers}))
    return watch


def test_a_client_that_knows_a_broker_is_well_wherever_it_knows_it_from() -> None:
    assert not told().none_known
    assert not told(("configured",), ("learned", "logical"), ("internal", "learned")).none_known


def test_no_broker_in_two_reports_is_a_failure() -> None:
    assert told(("logical", "internal"), ()).none_known


def test_no_broker_in_one_report_may_be_a_reconnect() -> None:
    assert not told(("learned",), ()).none_known
    assert not told((), ("configured",), ()).none_known


def refused(address: str, state: str = "CONNECT") -> KafkaError:
    text = f"{address}: Connect to ipv4#{address} failed: Connection refused"
    return KafkaError(KafkaError._TRANSPORT, f"{text} (after 0ms in state {state})")


def test_a_broker_that_can_t_be_reached_is_named_with_its_advertised_address() -> None:
    watch = BrokerWatch()
    with capture_logs() as logs:
        assert watch.note(refused("10.0.0.7:9092/3"))
        assert watch.note(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    broker, all_down = logs
    assert (broker["event"], broker["broker"]) == ("broker_unreachable", 3)
    assert broker["address"] == "10.0.0.7:9092"
    assert "Connection refused" in broker["why"]
    assert "advertised.listeners" in broker["what_now"]
    assert all_down["event"] == "kafka_unreachable"
    assert "broker 3 at 10.0.0.7:9092" in all_down["reason"]


def test_each_failure_is_named_once_in_ten_seconds() -> None:
    clock = ManualClock(100.0)
    watch = BrokerWatch(clock)
    down = KafkaError(KafkaError._ALL_BROKERS_DOWN, "2/2 brokers are down")
    with capture_logs() as logs:
        for _ in range(20):
            for error in (refused("a:1/1"), refused("b:1/2"), down):
                watch.note(error)
            clock.now += 0.1
        assert len(logs) == 3
        clock.now += 10
        watch.note(down)
    assert len(logs) == 4


@pytest.mark.parametrize(
    "error",
    [
        refused("a:1/1", state="UP"),
        KafkaError(
            KafkaError._TRANSPORT, "GroupCoordinator: a:1: Disconnected (after 9ms in state UP)"
        ),
        KafkaError(
            KafkaError._RESOLVE, "a:1/bootstrap: Failed to resolve (after 9ms in state CONNECT)"
        ),
    ],
)
def test_a_connection_that_ends_after_its_use_is_no_failure_of_its_broker(
    error: KafkaError,
) -> None:
    with capture_logs() as logs:
        assert BrokerWatch().note(error)
    assert logs == []


def test_a_refused_login_is_left_to_others_and_remembered() -> None:
    watch = BrokerWatch()
    error = KafkaError(
        KafkaError._AUTHENTICATION, "a:1/bootstrap: wrong (after 3ms in state AUTH_REQ)"
    )
    with capture_logs() as logs:
        assert not watch.note(error)
    assert logs == []
    assert watch.login_refused is error
    assert watch.because == ""
