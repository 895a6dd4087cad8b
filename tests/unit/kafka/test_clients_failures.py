"""Errors of the Kafka client that end the process: by cause, with a remedy."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from consumer_fleet.dead_letter_headers import Headers
from consumer_fleet.errors import ConfigurationError, FleetError, KafkaUnreachable
from consumer_fleet.kafka.chunk import DeadLetter, Record
from consumer_fleet.kafka.clients import ask_patiently, failure_of, fetch_metadata
from consumer_fleet.kafka.cluster import Cluster
from consumer_fleet.kafka.dead_letters import DeadLetterProducer
from tests.support.records import partition

FATAL = KafkaError._FATAL


def fatal(cause: int) -> KafkaError:
    """As it arrives in a message: ``fatal()`` is False, and the cause is in the text."""
    error = KafkaError(FATAL, f"Fatal error: {KafkaError(cause).str()}: rejected")
    assert not error.fatal()
    return error


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (fatal(KafkaError.FENCED_INSTANCE_ID), "group.instance.id"),
        (fatal(KafkaError.UNRELEASED_INSTANCE_ID), "group.instance.id"),
        (fatal(KafkaError.UNSUPPORTED_ASSIGNOR), "group.remote.assignor"),
        (KafkaError(KafkaError.INCONSISTENT_GROUP_PROTOCOL), "partition.assignment.strategy"),
        (KafkaError(KafkaError.INVALID_SESSION_TIMEOUT), "session.timeout.ms"),
        (KafkaError(KafkaError.GROUP_MAX_SIZE_REACHED), "group.max.size"),
        (KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED), "access"),
        (KafkaError(KafkaError._AUTHENTICATION), "login"),
    ],
)
def test_what_a_person_has_to_fix_ends_with_78_and_names_it(error: KafkaError, named: str) -> None:
    failure = failure_of(error)
    assert isinstance(failure, ConfigurationError)
    assert named in str(failure)


def test_another_fatal_error_ends_with_69() -> None:
    assert isinstance(failure_of(fatal(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)), KafkaUnreachable)
    assert isinstance(failure_of(KafkaError(KafkaError._FATAL, fatal=True)), KafkaUnreachable)


@pytest.mark.parametrize("code", [KafkaError._TRANSPORT, KafkaError.REBALANCE_IN_PROGRESS])
def test_an_error_that_passes_ends_nothing(code: int) -> None:
    assert failure_of(KafkaError(code)) is None


@pytest.mark.parametrize(
    "code", [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.COORDINATOR_LOAD_IN_PROGRESS]
)
def test_a_question_is_asked_again_while_its_broker_moves(code: int) -> None:
    failures = [KafkaException(KafkaError(code))]

    def ask() -> int:
        if failures:
            raise failures.pop()
        return 7

    assert ask_patiently(ask, 60.0) == 7


@pytest.mark.parametrize(
    ("code", "limit_s"), [(KafkaError.NOT_COORDINATOR, -1.0), (KafkaError._TRANSPORT, 60.0)]
)
def test_patience_ends_with_the_time_and_with_any_other_error(code: int, limit_s: float) -> None:
    failures = iter([KafkaException(KafkaError(code))])

    def ask() -> None:
        raise next(failures)  # asked a second time, it ends otherwise

    with pytest.raises(KafkaException) as failure:
        ask_patiently(ask, limit_s)
    assert failure.value.args[0].code() == code


class SilentClient:
    """Never answers; counts what it is asked."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def list_topics(self, topic: str | None, timeout: float) -> None:
        self.waits.append(timeout)
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def poll(self, timeout: float) -> None:
        assert timeout == 0


@pytest.mark.parametrize(
    ("limit_s", "refusal", "waits"),
    [
        (5.0, "SASL authentication error: Authentication failed", [1.0]),
        (5.0, "", [1.0, 4.0]),
        (5.0, f"handshake: {KafkaError(KafkaError.ILLEGAL_SASL_STATE).str()}", [1.0, 4.0]),
        (0.5, "", [0.5, 0.0]),  # a negative time-out would have no end
    ],
)
def test_only_a_refused_login_is_not_waited_for(
    limit_s: float, refusal: str, waits: list[float]
) -> None:
    client = SilentClient()
    with pytest.raises(KafkaException):
        fetch_metadata(client, limit_s, lambda: refusal)  # type: ignore[arg-type]  # a client by shape
    assert client.waits == waits


TOO_SOON = KafkaError(
    KafkaError._AUTHENTICATION,
    "sasl_plaintext://a:1/1: SASL OAUTHBEARER mechanism handshake failed: Broker: Request not "
    "valid in current SASL state: broker's supported mechanisms: ",
)


def test_a_login_that_came_too_soon_after_the_last_one_ends_nothing() -> None:
    """As with a token that was about to expire; the next connection is accepted."""
    assert failure_of(TOO_SOON) is None


def test_such_a_login_is_a_refusal_only_while_none_was_accepted() -> None:
    cluster = Cluster({"bootstrap.servers": "a.invalid:1"})
    cluster._on_client_error(TOO_SOON)
    assert "check sasl.username" in cluster.login_refused
    cluster.cluster_id, cluster.login_refused = "known", ""
    cluster._on_client_error(TOO_SOON)
    assert cluster.login_refused == ""
    cluster._on_client_error(KafkaError(KafkaError._AUTHENTICATION, "wrong password"))
    assert "wrong password" in cluster.login_refused


class FailedProducer:
    """A librdkafka producer after a fatal error: it takes nothing any more."""

    def produce(self, topic: str, *, headers: Headers, **_: object) -> None:
        raise KafkaException(fatal(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER))


def test_a_dead_letter_producer_that_has_failed_for_good_ends_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "consumer_fleet.kafka.dead_letters.make_client", lambda _kind, _config: FailedProducer()
    )
    failures: list[FleetError] = []
    producer = DeadLetterProducer({}, "events-dlq", "group", on_failure=failures.append)
    producer.produce(partition(), DeadLetter(Record(1, None, None, b"v", ()), "invalid_json", ""))
    (failure,) = failures
    assert isinstance(failure, KafkaUnreachable)
    assert "dead-letter producer" in str(failure)
    assert not producer.blocked
