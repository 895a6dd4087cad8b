"""The options as a whole: enough to deliver, and safe."""

from __future__ import annotations

import pytest

from consumer_fleet.bootstrap.option_checks import (
    dangerous_modes,
    delivery_mode,
    likely_circles,
)
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.errors import ConfigurationError

DSN = "https://publickey@sentry.example/1"


def options(**command_line: object) -> Options:
    return resolve_options(OptionsRequest(command_line), {}).options


def test_neither_brokers_nor_dsn_is_the_demonstration() -> None:
    assert delivery_mode(options()) == "embedded"


@pytest.mark.parametrize(
    "brokers",
    [{"bootstrap_servers": "kafka:9092"}, {"kafka_config": "bootstrap.servers=kafka:9092"}],
)
def test_brokers_and_a_dsn_are_the_real_thing(brokers: dict[str, object]) -> None:
    assert delivery_mode(options(**brokers, upstream_dsn=DSN)) == "real"


def test_brokers_without_a_dsn_are_refused_with_the_keys_that_give_one() -> None:
    with pytest.raises(ConfigurationError, match=r"no DSN.*--upstream-dsn.*CONSUMER_UPSTREAM_DSN"):
        delivery_mode(options(bootstrap_servers="kafka:9092"))


def test_a_dsn_without_brokers_is_refused_with_the_keys_that_give_them() -> None:
    with pytest.raises(ConfigurationError, match=r"no Kafka broker.*CONSUMER_BOOTSTRAP_SERVERS"):
        delivery_mode(options(upstream_dsn=DSN))


@pytest.mark.parametrize(("rate", "mode"), [(1, "real"), (0.5, None), (0, None)])
def test_the_second_destination_alone_must_get_every_message(rate: float, mode: str | None) -> None:
    given = options(
        bootstrap_servers="kafka:9092", saas_dsn=DSN, store_use_relay_dsn_sample_rate=rate
    )
    if mode is not None:
        assert delivery_mode(given) == mode
        return
    with pytest.raises(ConfigurationError, match="would be lost"):
        delivery_mode(given)


def test_safe_options_warn_of_nothing() -> None:
    assert list(dangerous_modes(options(bootstrap_servers="kafka:9092", upstream_dsn=DSN))) == []
    loopback = options(upstream_dsn="http://key@127.0.0.1:9000/1")
    assert list(dangerous_modes(loopback)) == []


@pytest.mark.parametrize(
    ("brokers", "sentry", "whose"),
    [
        ("kafka:9092,sentry.example:9092", None, "of a Kafka broker"),
        ("kafka:9092", "sentry.example", "of the Sentry at SENTRY_CONF"),
        ("kafka:9092", "other.example", None),
        ("kafka:9092", None, None),
    ],
)
def test_a_destination_that_may_be_the_sentry_whose_topics_are_read_is_named(
    brokers: str, sentry: str | None, whose: str | None
) -> None:
    found = list(likely_circles(options(bootstrap_servers=brokers, upstream_dsn=DSN), sentry))
    assert [whose in line for line in found if whose] == ([True] if whose else [])
    assert len(found) == (whose is not None)


def test_brokers_and_destinations_of_this_machine_prove_nothing() -> None:
    given = options(bootstrap_servers="127.0.0.1:9092", upstream_dsn="http://key@127.0.0.1:8000/1")
    assert list(likely_circles(given, None)) == []
