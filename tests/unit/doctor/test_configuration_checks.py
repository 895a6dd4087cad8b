"""``consumer doctor``: findings about the options, and the consumers to check."""

from __future__ import annotations

import pytest

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.consumers import registry
from consumer_fleet.doctor import configuration_checks
from consumer_fleet.doctor.configuration_checks import examine_configuration, is_embedded
from consumer_fleet.doctor.finding import Finding, Subject, subjects_of
from consumer_fleet.errors import ConfigurationError

WHOLE = {"bootstrap_servers": "kafka:9092", "upstream_dsn": "https://key@sentry.example/1"}


def options(**given: object) -> Options:
    return resolve_options(OptionsRequest(given), {}).options


def examined(**given: object) -> list[Finding]:
    resolved = options(**given)
    return list(examine_configuration(resolved, subjects_of(resolved, ())))


# Options


def test_a_whole_configuration_is_fine() -> None:
    assert [(each.check, each.status) for each in examined(**WHOLE)] == [("configuration", "ok")]


def test_without_any_configuration_it_says_that_run_is_a_demonstration() -> None:
    (finding,) = examined()
    assert finding.status == "ok"
    assert "demonstration" in finding.seen
    assert is_embedded(options())
    assert not is_embedded(options(bootstrap_servers="kafka:9092"))


def test_a_consumer_of_another_distribution_that_cannot_be_loaded_is_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    skipped = registry.SkippedConsumer("orders", "shop: shop:X can't be loaded: ImportError: y")
    monkeypatch.setattr(configuration_checks, "skipped_consumers", lambda: (skipped,))
    for given in ({}, WHOLE):
        (finding,) = [each for each in examined(**given) if each.subject == "orders"]
        assert (finding.status, finding.subject) == ("warning", "orders")
        assert "ImportError" in finding.seen
        assert "uninstall" in finding.fix


@pytest.mark.parametrize(
    ("given", "subject", "says", "mended_by"),
    [
        ({"bootstrap_servers": "k:1"}, "options", "no DSN", "CONSUMER_UPSTREAM_DSN"),
        ({"upstream_dsn": WHOLE["upstream_dsn"]}, "options", "no Kafka broker", "kafka:9092"),
        (
            {**WHOLE, "eventstream_backend": "legacy"},
            "options",
            "does not feed Snuba",
            "Set eventstream_backend",
        ),
        (
            {**WHOLE, "topic": "events", "group": "snuba-consumers"},
            "group",
            "belongs to Sentry or Snuba",
            "fleet-snuba-consumers",
        ),
        (
            {**WHOLE, "topic": "events", "dlq_topic": "events"},
            "dlq_topic",
            "is the topic that is consumed",
            "Name another one",
        ),
        (
            {**WHOLE, "shutdown_timeout": 10, "kafka_config": {"max.poll.interval.ms": "10000"}},
            "options",
            "max.poll.interval.ms = 10000",
            "Lower shutdown_timeout",
        ),
        (
            {**WHOLE, "kafka_config": {"max.poll.interval.ms": "soon"}},
            "options",
            "not a whole number",
            "in milliseconds",
        ),
        (
            {**WHOLE, "kafka_config": {"max.poll.interval.ms": "1" * 5000}},
            "options",
            "not a whole number",
            "in milliseconds",
        ),
    ],
)
def test_what_the_start_would_refuse_is_a_problem(
    given: dict[str, object], subject: str, says: str, mended_by: str
) -> None:
    (finding,) = examined(**given)
    assert (finding.status, finding.subject) == ("problem", subject)
    assert says in finding.seen
    assert mended_by in finding.fix


def test_a_choice_that_may_lose_data_is_a_warning() -> None:
    found = examined(**WHOLE, no_dlq=True, upstream_delivery="best-effort")
    assert [each.status for each in found] == ["ok", "warning", "warning"]
    assert [each.subject for each in found[1:]] == ["no_dlq", "upstream_delivery best-effort"]


def test_topics_of_both_sets_are_a_warning_once_they_are_named() -> None:
    def seen(*named: str) -> list[str]:
        subjects = subjects_of(options(), named)
        found = examine_configuration(options(**WHOLE), subjects)
        return [each.seen for each in found if each.subject == "topics"]

    (twice,) = seen("ingest-events", "events")
    assert "deliver everything twice" in twice
    assert seen("ingest-events", "envelopes", "profiles") == []
    assert seen() == []


# Subjects


def test_without_a_name_it_is_about_the_configured_consumer_else_about_all() -> None:
    assert [each.name for each in subjects_of(options(topic="envelopes"), ())] == ["envelopes"]
    every = subjects_of(options(), ())
    assert [each.name for each in every] == [each.name for each in registry.CONSUMERS]
    assert not any(each.is_wanted for each in every)


def test_the_names_are_those_that_run_uses() -> None:
    given = options(topic="events", physical_topic="events-eu", group="mine")
    (subject,) = subjects_of(given, ("events",))
    assert subject == Subject("events", "events-eu", "mine", "events-eu-dlq")
    (other,) = subjects_of(given, ("envelopes",))
    assert other == Subject(
        "envelopes", "envelopes", "consumer-fleet-envelopes", "envelopes-dlq"
    ), "the options name another consumer's topic and group"
    assert subjects_of(options(topic="events", no_dlq=True), ())[0].dead_letter_topic is None
    assert subjects_of(options(topic="events", dlq_topic="d"), ())[0].dead_letter_topic == "d"


def test_a_consumer_that_does_not_exist_is_an_error_and_a_repeated_one_is_one() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'events'"):
        subjects_of(options(), ("event",))
    assert len(subjects_of(options(), ("events", "events"))) == 1
