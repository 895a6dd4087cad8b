"""A client that has forgotten every broker is noticed."""

from __future__ import annotations

import json

from consumer_fleet.kafka.clients import BrokerWatch


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
