"""``consumer doctor``: findings about Kafka servers."""

from __future__ import annotations

import pytest

from consumer_fleet.doctor.finding import Finding
from consumer_fleet.doctor.server_checks import (
    ServerFacts,
    ServerFailure,
    describe_failure,
    describe_server,
    split_server,
)

SERVER = "kafka:9092"
SASL_TLS = {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}


@pytest.mark.parametrize(
    ("server", "parts"),
    [
        ("kafka:9092", ("kafka", 9092)),
        ("[::1]:9092", ("::1", 9092)),
        ("SASL_SSL://kafka:9093", ("kafka", 9093)),
        (" kafka", ("kafka", 9092)),
    ],
)
def test_a_server_is_split_as_librdkafka_writes_it(server: str, parts: tuple[str, int]) -> None:
    assert split_server(server) == parts


@pytest.mark.parametrize(
    ("step", "kafka", "says", "fixed_by"),
    [
        ("name", SASL_TLS, "the name does not resolve", "bootstrap_servers"),
        ("connection", SASL_TLS, "no connection", "firewalls"),
        ("tls", SASL_TLS, "TLS fails", "PLAINTEXT"),
        ("certificate", SASL_TLS, "not trusted", "ssl.ca.location"),
        ("certificate", SASL_TLS, "not trusted", "-connect kafka:9092"),
        ("silence", SASL_TLS, "does not answer", "overloaded"),
        ("protocol", SASL_TLS, "does not speak Kafka", "client certificate"),
        ("tls expected", {}, "it expects TLS, and security.protocol is PLAINTEXT", "SASL_SSL"),
        ("login expected", {}, "it expects a SASL login", "SASL_PLAINTEXT"),
        ("login expected", {"security.protocol": "ssl"}, "it expects a SASL login", "SASL_SSL"),
        ("no login", SASL_TLS, "it has no SASL login", "security.protocol in kafka_config to SSL"),
        ("mechanism", SASL_TLS, "does not offer the SASL mechanism SCRAM-SHA-512", "mechanism"),
    ],
)
def test_each_failure_is_named_with_its_own_fix(
    step: str, kafka: dict[str, str], says: str, fixed_by: str
) -> None:
    failure = ServerFailure(step, "because")  # type: ignore[arg-type]  # parametrized text
    finding = describe_failure(SERVER, failure, kafka)
    assert finding.status == "problem"
    assert says in finding.seen
    assert finding.seen.endswith(": because")
    assert fixed_by in finding.fix


def test_another_authority_is_no_fix_for_a_certificate_that_has_expired() -> None:
    failure = ServerFailure("certificate", "certificate has expired", "Renew it.")
    assert describe_failure(SERVER, failure, SASL_TLS).fix == "Renew it."


def statuses(facts: ServerFacts, kafka: dict[str, str]) -> list[str]:
    return [each.status for each in described(facts, kafka)]


def described(facts: ServerFacts, kafka: dict[str, str]) -> list[Finding]:
    return list(describe_server(SERVER, facts, kafka))


def test_a_server_that_answers_is_fine_and_says_how() -> None:
    (finding,) = described(ServerFacts(0.0123, True), SASL_TLS)
    assert finding.status == "ok"
    assert finding.seen == "answers in 12 ms, TLS, SASL SCRAM-SHA-512, KIP-848 groups: yes"


def test_a_refused_password_is_not_the_servers_failure() -> None:
    (finding,) = described(ServerFacts(None, None), {})
    assert (finding.status, finding.seen) == ("ok", "answers")


def test_the_new_group_protocol_on_a_broker_without_it_is_a_problem() -> None:
    kafka = {"group.protocol": "consumer"}
    assert statuses(ServerFacts(0.1, False), kafka) == ["ok", "problem"]
    assert statuses(ServerFacts(0.1, True), kafka) == ["ok"]
    assert statuses(ServerFacts(0.1, False), {}) == ["ok"]
