"""``consumer doctor`` on a cluster with users, rights and TLS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.bootstrap.resolve import OptionsRequest
from consumer_fleet.command_options import resolve_cluster
from consumer_fleet.doctor.command import examine
from consumer_fleet.doctor.finding import Finding
from tests.support.doctor import be_patient
from tests.support.requirements import MissingPart, require
from tests.support.secured_kafka_broker import USERS, SecuredKafkaBroker

TOPIC = "ingest-events"
GROUP = "consumer-fleet-ingest-events"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafkaBroker]:
    """alice may do what a consumer does, once a test of hers has run; bob may do nothing."""
    try:
        broker = SecuredKafkaBroker(tmp_path_factory.mktemp("secured-kafka"))
    except MissingPart as error:
        require("Kafka", str(error))
    try:
        broker.start()
        broker.create_topic(TOPIC)
        broker.create_topic(f"{TOPIC}-dlq")
        yield broker
    finally:
        broker.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(monkeypatch)


def cluster(servers: str, kafka: dict[str, str], **options: str) -> ClusterOptions:
    return resolve_cluster(
        OptionsRequest({"bootstrap_servers": servers, "kafka_config": kafka, **options})
    )


def examined(servers: str, kafka: dict[str, str]) -> dict[str, Finding]:
    """By check, but for the machine's; none is found twice."""
    found = examine(cluster(servers, kafka), (TOPIC,))
    assert not any(password in str(found) for password in USERS.values())
    wanted = [
        each
        for each in found
        if each.check.startswith(("kafka.", "topic.", "dead_letters.", "group"))
    ]
    by_check = {each.check: each for each in wanted}
    assert len(by_check) == len(wanted)
    return by_check


@pytest.mark.usefixtures("patient")
def test_each_missing_right_is_reported_with_its_command_until_all_are_there(
    secured: SecuredKafkaBroker,
) -> None:
    login = secured.login("alice")
    found = examined(secured.sasl_servers, login)
    assert found["kafka.server"].seen.endswith("SASL PLAIN, KIP-848 groups: yes")
    assert found["kafka.login"].status == "ok"
    missing = {
        check: found[check].fix.rpartition("--operation ")[2]
        for check in found
        if found[check].status == "problem"
    }
    assert missing == {
        "topic.access": f"Read --topic {TOPIC}",
        "group.access": f"Read --group {GROUP}",
        "dead_letters.access": f"Write --topic {TOPIC}-dlq",
    }
    for granted in missing.values():
        operation, kind, name = granted.split()
        secured.grant("alice", operation.upper(), kind.removeprefix("--"), name)
    found = examined(secured.sasl_servers, login)
    assert [each for each in found.values() if each.status == "problem"] == []
    assert found["topic.access"].status == "warning", "the settings"
    for name in (TOPIC, f"{TOPIC}-dlq"):
        secured.grant("alice", "DESCRIBE_CONFIGS", "topic", name)
    found = examined(secured.sasl_servers, login)
    assert found["topic.access"].status == "ok"
    assert found["group.position"].status == "ok"


@pytest.mark.usefixtures("patient")
def test_a_dead_letter_topic_that_the_user_may_not_make_is_a_problem(
    secured: SecuredKafkaBroker,
) -> None:
    secured.grant("bob", "DESCRIBE", "topic", "bobs-dlq")
    login = secured.login("bob")
    given = cluster(secured.sasl_servers, login, topic=TOPIC, dlq_topic="bobs-dlq")
    (finding,) = [each for each in examine(given, ()) if each.check == "dead_letters.exists"]
    assert finding.status == "problem"
    assert "this user may not create it" in finding.seen
    secured.grant("bob", "CREATE", "topic", "bobs-dlq")
    (finding,) = [each for each in examine(given, ()) if each.check == "dead_letters.exists"]
    assert finding.status == "ok"
    assert "bobs-dlq" not in secured.admin.list_topics(timeout=30).topics


@pytest.mark.usefixtures("patient")
def test_a_broker_that_makes_what_it_is_asked_about_is_not_asked_in_that_way(
    secured: SecuredKafkaBroker,
) -> None:
    found = examine(cluster(secured.bootstrap_servers, {}), ("envelopes",))
    missing = [each for each in found if each.check in ("topic.exists", "dead_letters.exists")]
    assert [each.status for each in missing] == ["problem", "ok"]
    present = secured.admin.list_topics(timeout=30).topics
    assert not {"envelopes", "envelopes-dlq"} & set(present)


def test_a_wrong_password_is_reported_as_such(secured: SecuredKafkaBroker) -> None:
    found = examined(secured.sasl_servers, secured.login("alice", "not-hers"))
    assert found["kafka.server"].status == "ok"
    assert found["kafka.login"].status == "problem"
    assert "Invalid username or password" in found["kafka.login"].seen
    assert "not-hers" not in str(found)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "it expects a SASL login, and none is configured"),
        (
            {
                "security.protocol": "sasl_plaintext",
                "sasl.mechanism": "SCRAM-SHA-256",
                "sasl.username": "alice",
                "sasl.password": USERS["alice"],
            },
            "does not offer the SASL mechanism SCRAM-SHA-256: it offers PLAIN",
        ),
        ({"security.protocol": "ssl"}, "TLS fails"),
    ],
)
def test_a_way_to_log_in_that_can_t_work_is_reported(
    secured: SecuredKafkaBroker, settings: dict[str, str], says: str
) -> None:
    found = examined(secured.sasl_servers, settings)
    assert found["kafka.server"].status == "problem"
    assert says in found["kafka.server"].seen
    assert found["kafka.login"].status == "problem"


def test_a_login_at_a_port_without_any_is_reported(secured: SecuredKafkaBroker) -> None:
    found = examined(secured.bootstrap_servers, secured.login("alice"))
    assert found["kafka.server"].status == "problem"
    assert "it has no SASL login on that port" in found["kafka.server"].seen


def test_tls_is_distinguished_from_trust(
    secured: SecuredKafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = examined(secured.tls_servers, {})["kafka.server"]
    assert "it expects TLS" in plain.seen
    assert "security.protocol in kafka_config to SSL" in plain.fix
    untrusted = examined(secured.tls_servers, {"security.protocol": "ssl"})["kafka.server"]
    assert "its certificate is not trusted" in untrusted.seen
    be_patient(monkeypatch)
    trusting = {"security.protocol": "ssl", "ssl.ca.location": str(secured.certificate)}
    found = examined(secured.tls_servers, trusting)
    assert found["kafka.server"].status == "ok"
    assert "TLS" in found["kafka.server"].seen
    assert found["kafka.login"].status == "ok"
