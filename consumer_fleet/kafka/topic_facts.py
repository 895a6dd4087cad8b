"""What the brokers say of a topic: partitions, settings, and what this user may do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeAlias

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

#: Of requests for facts, which are part of checks that end within seconds.
FACTS_TIMEOUT_S = 4.0

#: What this user may do, as Kafka's own tools name it; None where the broker does not say.
Operations: TypeAlias = frozenset[str] | None


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    index: int
    has_leader: bool
    replicas: int
    in_sync: int


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic, or why nothing is known of it: ``error`` is librdkafka's code, 0 if it exists.

    ``settings`` is None where they may not be read, and ``settings_error`` says why.
    """

    name: str
    error: int = 0
    error_text: str = ""
    partitions: tuple[PartitionFacts, ...] = ()
    operations: Operations = None
    settings: Mapping[str, str] | None = None
    settings_error: str = ""

    @property
    def exists(self) -> bool:
        return not self.error

    @property
    def is_silent(self) -> bool:
        """No answer: librdkafka's own errors are below 0."""
        return self.error < 0 and not self.is_missing

    @property
    def is_missing(self) -> bool:
        return self.error in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)

    def number(self, name: str) -> int | None:
        """A setting that is a number; None where it is unknown."""
        text = (self.settings or {}).get(name, "")
        return int(text) if text.removeprefix("-").isdecimal() else None


def request_settings(admin: AdminClient, topics: Collection[str]) -> dict[str, Future[Any]]:
    """Ask for the settings of topics, without waiting; read each answer with ``settings_of``."""
    if not topics:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in sorted(set(topics))]
    answers = admin.describe_configs(resources, request_timeout=FACTS_TIMEOUT_S)
    return {resource.name: answer for resource, answer in answers.items()}


def settings_of(answer: Future[Any]) -> dict[str, str]:
    """Block until the answer is there. Raises KafkaException."""
    entries = answer.result().items()
    return {name: str(entry.value) for name, entry in entries if entry.value is not None}


def topic_facts(name: str, described: Future[Any], settings: Future[Any]) -> TopicFacts:
    try:
        topic = described.result()
    except KafkaException as error:
        return TopicFacts(name, error.args[0].code(), error.args[0].str())
    partitions = tuple(
        PartitionFacts(each.id, each.leader is not None, len(each.replicas), len(each.isr))
        for each in topic.partitions
    )
    values, why = None, ""
    try:
        values = settings_of(settings)
    except KafkaException as error:
        why = error.args[0].str()
    return TopicFacts(
        name, 0, "", partitions, operation_names(topic.authorized_operations), values, why
    )


def operation_names(operations: Collection[Any] | None) -> Operations:
    return frozenset(each.name for each in operations) if operations else None
