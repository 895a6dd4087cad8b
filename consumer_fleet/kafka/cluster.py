"""What must be true of the cluster before a consumer joins: reachable, topics there, ends known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, NamedTuple

import structlog
from arroyo.types import Partition, Topic
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from consumer_fleet.errors import ConfigurationError, KafkaUnreachable
from consumer_fleet.kafka.clients import make_admin_client

log = structlog.get_logger(__name__)

_METADATA_TIMEOUT_S = 5.0
_REQUEST_TIMEOUT_S = 15.0
# Room for the dlq.* headers around a message that is as large as its own topic allows.
HEADER_ROOM_BYTES = 64 * 1024
# Metadata of a topic that does not exist, or whose leaders are being chosen, is an answer, too.
_REFUSALS = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.TOPIC_EXCEPTION)


class TopicFacts(NamedTuple):
    """``partitions`` is 0 where there is no such topic."""

    cluster_id: str | None
    partitions: int


class Cluster:
    """A short-lived view of the cluster, for the checks before anything is read or written."""

    def __init__(self, base_config: Mapping[str, Any]) -> None:
        self._servers = str(base_config.get("bootstrap.servers", ""))
        self._admin = make_admin_client(base_config)

    @property
    def admin(self) -> AdminClient:
        """For questions of others; it lives as long as they hold it."""
        return self._admin

    def wait_until_reachable(
        self, *, for_ever: bool, wait: Callable[[float], None], given_up: Callable[[], bool]
    ) -> None:
        """Block until a broker answers; says within seconds that none does.

        ``wait(seconds)`` passes the time between attempts, and ``given_up()`` ends the waiting.
        Raises KafkaUnreachable at the first failure unless ``for_ever``.
        """
        while not given_up():
            started = monotonic()
            try:
                self._admin.list_topics(timeout=_METADATA_TIMEOUT_S)
            except KafkaException as error:
                reason = error.args[0].str()
                self._admin.poll(0)  # lets librdkafka log why, a refused login for example
                if not for_ever:
                    raise KafkaUnreachable(
                        f"no Kafka broker answers at {self._servers}: {reason}; check "
                        "--bootstrap-servers, the network and the TLS or SASL settings"
                    ) from error
                log.error(
                    "kafka_unreachable",
                    bootstrap_servers=self._servers,
                    reason=reason,
                    what_now="trying again",
                )
                wait(max(0.0, _METADATA_TIMEOUT_S - (monotonic() - started)))
            else:
                return

    def describe(self, topic: str) -> TopicFacts:
        """Blocks on the broker. Raises KafkaUnreachable, or ConfigurationError where the topic may
        not be looked at or its name is none.
        """
        try:
            metadata = self._admin.list_topics(topic, timeout=_REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise KafkaUnreachable(f"topic {topic!r}: {error.args[0].str()}") from error
        found = metadata.topics[topic]
        if found.error is not None and found.error.code() in _REFUSALS:
            raise ConfigurationError(f"topic {topic!r}: {found.error.str()}")
        return TopicFacts(metadata.cluster_id, len(found.partitions))

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has. Raises ConfigurationError if it is not there."""
        count = self.describe(topic).partitions
        if count:
            return count
        raise ConfigurationError(
            f"the topic {topic!r} does not exist on {self._servers}: create it, or name another "
            "one with --physical-topic"
        )

    def create_topic(self, topic: str, partitions: int, config: Mapping[str, str]) -> None:
        """Block until the topic is made; also where somebody else makes it at the same time.
        Raises ConfigurationError where it can't be.
        """
        request = NewTopic(topic, num_partitions=partitions, config=dict(config))
        answers = self._admin.create_topics([request], operation_timeout=_REQUEST_TIMEOUT_S)
        try:
            answers[topic].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return
            raise ConfigurationError(
                f"topic {topic!r} can't be created: {error.args[0].str()}"
            ) from error
        log.info("topic_created", topic=topic, partitions=partitions, config=dict(config))

    def end_offsets(self, topic: str) -> dict[Partition, int]:
        """Where each partition ends now, open transactions left out. Blocks on the broker."""
        targets = [TopicPartition(topic, index) for index in range(self.partitions(topic))]
        answers = self._admin.list_offsets(
            {target: OffsetSpec.latest() for target in targets},  # type: ignore[no-untyped-call]  # unannotated there
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=_REQUEST_TIMEOUT_S,
        )
        try:
            return {
                Partition(Topic(topic), target.partition): answer.result().offset
                for target, answer in answers.items()
            }
        except KafkaException as error:
            raise KafkaUnreachable(f"the ends of {topic!r}: {error.args[0].str()}") from error

    def ensure_dead_letter_topic(self, dead_letter_topic: str, source: str) -> None:
        """Check that the dead letter topic is there, else create it.

        It is made with one partition, without expiry (a dead letter stays until a person deals
        with it), and with room for the largest message of its source.
        Raises ConfigurationError if it is missing and can't be created.
        """
        if self.describe(dead_letter_topic).partitions:
            return
        limit = self._setting(source, "max.message.bytes")
        config = {"retention.ms": "-1", "cleanup.policy": "delete"}
        if limit is not None:
            config["max.message.bytes"] = str(int(limit) + HEADER_ROOM_BYTES)
        try:
            self.create_topic(dead_letter_topic, 1, config)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"the dead letter {error}: create it, name another one with --dlq-topic, or run "
                "with --no-dlq"
            ) from error

    def _setting(self, topic: str, name: str) -> str | None:
        """A topic's setting, or None where it may not be read."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        try:
            entries = self._admin.describe_configs([resource])[resource].result(_REQUEST_TIMEOUT_S)
        except KafkaException as error:
            log.info("topic_config_unreadable", topic=topic, why=error.args[0].str())
            return None
        entry = entries.get(name)
        return None if entry is None else str(entry.value)
