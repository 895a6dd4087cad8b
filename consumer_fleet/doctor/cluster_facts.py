"""What the cluster says of itself and of topics: asked for in parallel, judged elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from consumer_fleet.kafka.clients import admin_config, make_client
from consumer_fleet.kafka.cluster import ClusterFacts, PartitionFacts, TopicFacts

LOGIN_TIMEOUT_S: Final = 5.0
REQUEST_TIMEOUT_S: Final = 4.0
_RETRY_S: Final = 0.2


@dataclass(slots=True)
class Login:
    """The client, connected or not, and what librdkafka has said of its failures so far."""

    admin: AdminClient
    errors: list[KafkaError] = field(default_factory=list)
    failure: str = ""

    @property
    def refusal(self) -> str:
        """What a broker said to the user name and password; empty if it did not mind them."""
        for error in self.errors:
            if error.code() == KafkaError._AUTHENTICATION:
                return error.str()
        return ""


def log_in(kafka: Mapping[str, Any]) -> Login:
    """Connect as a consumer does. Blocks for ``LOGIN_TIMEOUT_S`` at most.

    Raises ConfigurationError for a setting that librdkafka refuses.
    """
    errors: list[KafkaError] = []
    config = {**admin_config(kafka), "error_cb": errors.append}
    admin = make_client(AdminClient, config)
    login = Login(admin, errors)
    try:
        admin.list_topics(timeout=LOGIN_TIMEOUT_S)
    except KafkaException as error:
        login.failure = error.args[0].str()
    admin.poll(0)  # lets librdkafka report
    return login


def describe_cluster(admin: AdminClient) -> ClusterFacts:
    """Blocks for seconds at most. Raises KafkaException."""
    answer = admin.describe_cluster(request_timeout=REQUEST_TIMEOUT_S).result()
    brokers = {node.id: f"{node.host}:{node.port}" for node in answer.nodes}
    return ClusterFacts(str(answer.cluster_id), brokers)


def describe_topics(admin: AdminClient, names: Collection[str]) -> dict[str, TopicFacts]:
    """By name; each name has an entry. Blocks for seconds at most."""
    described = admin.describe_topics(
        TopicCollection(list(names)),
        include_authorized_operations=True,
        request_timeout=REQUEST_TIMEOUT_S,
    )
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    settings = {
        resource.name: answer
        for resource, answer in admin.describe_configs(
            resources, request_timeout=REQUEST_TIMEOUT_S
        ).items()
    }
    return {name: _topic(name, described[name], settings[name]) for name in names}


def _topic(name: str, described: Future[Any], settings: Future[Any]) -> TopicFacts:
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
        values = {entry: str(each.value) for entry, each in settings.result().items()}
    except KafkaException as error:
        why = error.args[0].str()
    operations = operation_names(topic.authorized_operations)
    return TopicFacts(name, 0, "", partitions, operations, values, why)


def may_create(admin: AdminClient, topic: str) -> KafkaError | None:
    """Ask for a topic to be checked but not made; None says that it could be made."""
    request = NewTopic(topic, num_partitions=1, config={"retention.ms": "-1"})
    answer = admin.create_topics(
        [request], validate_only=True, request_timeout=REQUEST_TIMEOUT_S, operation_timeout=1.0
    )[topic]
    try:
        answer.result()
    except KafkaException as error:
        refusal: KafkaError = error.args[0]
        return refusal
    return None


def group_operations(admin: AdminClient, group: str) -> frozenset[str] | None:
    """What this user may do to a group, whether it exists or not. Raises KafkaException.

    Asks again for as long as a request may take: a coordinator that is just getting ready, for a
    cluster's first group too, answers with one error or another.
    """
    deadline = monotonic() + REQUEST_TIMEOUT_S
    while True:
        answer = admin.describe_consumer_groups(
            [group], include_authorized_operations=True, request_timeout=REQUEST_TIMEOUT_S
        )[group]
        try:
            return operation_names(answer.result().authorized_operations)
        except KafkaException as error:
            refused = error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED
            if refused or monotonic() > deadline:
                raise
        sleep(_RETRY_S)


def newest_timestamp_ms(admin: AdminClient, topic: TopicFacts) -> int | None:
    """The largest timestamp in a topic; None where it is empty or the broker can't tell."""
    wanted = {
        TopicPartition(topic.name, each.index): OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]  # unannotated there
        for each in topic.partitions
        if each.has_leader
    }
    if not wanted:
        return None
    answers = admin.list_offsets(wanted, request_timeout=REQUEST_TIMEOUT_S)
    try:
        found = [answer.result().timestamp for answer in answers.values()]
    except KafkaException:
        return None  # before Kafka 3.0
    return max((timestamp for timestamp in found if timestamp > 0), default=None)


def operation_names(operations: Collection[Any] | None) -> frozenset[str] | None:
    """AclOperations as Kafka's own tools name them; None where the broker does not say."""
    if not operations:
        return None
    return frozenset(operation.name for operation in operations)
