"""The cluster and its topics: reachable, complete, and what this user may do with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from time import monotonic, sleep
from typing import Any

import structlog
from arroyo.types import Partition, Topic
from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from consumer_fleet.errors import ConfigurationError, KafkaUnreachable
from consumer_fleet.kafka.clients import (
    LOGIN_REFUSED,
    admin_config,
    ask_patiently,
    fetch_metadata,
    is_login_too_soon,
    login_refusal,
    make_client,
    unreachable,
)
from consumer_fleet.kafka.topic_facts import (
    FACTS_TIMEOUT_S,
    Operations,
    TopicFacts,
    operation_names,
    request_settings,
    settings_of,
    topic_facts,
)

log = structlog.get_logger(__name__)

_METADATA_TIMEOUT_S = 5.0
_REQUEST_TIMEOUT_S = 15.0
_RETRY_S = 0.2
# Brokers that are asked whether they respond: one that does is enough.
_MOST_ASKED = 3
# Room for the dlq.* headers around a message that is as large as its own topic allows.
HEADER_ROOM_BYTES = 64 * 1024
# How librdkafka names a broker whose address it got from the cluster: by its id.
_ADVERTISED = re.compile(r"(?:\w+://)?(\S+:\d+)/(\d+): ")
# Metadata of a missing topic, or of one whose leaders are being chosen, is an answer, too.
_REFUSALS = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.TOPIC_EXCEPTION)


class Cluster:
    """A short-lived view of the cluster. Every method blocks on the broker.

    ``on_error`` gets what librdkafka says of its connections. ``cluster_id``, ``brokers`` and
    ``has_controller`` are known once a broker has responded; only ``brokers`` where none responds
    any more at the addresses that the cluster advertises.
    """

    def __init__(
        self,
        base_config: Mapping[str, Any],
        on_error: Callable[[KafkaError], None] | None = None,
    ) -> None:
        self._base_config = base_config
        self._servers = str(base_config.get("bootstrap.servers", ""))
        self._on_error = on_error
        #: Why the brokers refuse the login; empty while they do not.
        self.login_refused = ""
        config = {**admin_config(base_config), "error_cb": self._on_client_error}
        #: For questions of others; it lives as long as they hold it.
        self.admin = make_client(AdminClient, config)
        self.cluster_id: str | None = None
        #: The address that each broker advertises, by its id.
        self.brokers: dict[int, str] = {}
        self.has_controller = False
        self._controller_id = -1
        self._connection_error = ""
        #: Advertised addresses that no connection could be made to, by broker id.
        self._unreached: dict[int, str] = {}

    def _on_client_error(self, error: KafkaError) -> None:
        if self.cluster_id is not None and is_login_too_soon(error):
            self._connection_error = error.str()
        elif error.code() in LOGIN_REFUSED:
            self.login_refused = str(login_refusal(error))
        elif error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._connection_error = error.str()
            named = _ADVERTISED.match(error.str())
            if named and named[1] not in self._servers.split(","):
                self._unreached[int(named[2])] = named[1]
        if self._on_error is not None:
            self._on_error(error)

    # -- reaching it ----------------------------------------------------------------------------

    def check_reachable(self) -> None:
        """Block until a broker responds, for seconds at most. Raises KafkaUnreachable, or
        ConfigurationError where the login is refused.
        """
        reason = self.connect()
        if self.login_refused:
            raise ConfigurationError(self.login_refused)
        if reason is not None:
            raise unreachable(self._base_config, reason)
        reason = self.advertised_failure()
        if reason is not None:
            raise KafkaUnreachable(reason)

    def wait_until_reachable(
        self, *, wait: Callable[[float], None], given_up: Callable[[], bool]
    ) -> None:
        """Block until a broker responds; logs within seconds that none does.

        ``wait(seconds)`` passes the time between attempts, and ``given_up()`` ends the waiting.
        """
        while not given_up():
            started = monotonic()
            reason = self.connect() or self.advertised_failure()
            if reason is None:
                return
            log.error(
                "kafka_unreachable",
                bootstrap_servers=self._servers,
                reason=reason,
                what_now="retrying",
            )
            wait(max(0.0, _METADATA_TIMEOUT_S - (monotonic() - started)))

    def connect(self) -> str | None:
        """None once a broker has responded, else why none does."""
        try:
            metadata = fetch_metadata(self.admin, _METADATA_TIMEOUT_S, lambda: self.login_refused)
        except KafkaException as error:
            if self.login_refused or not self._unreached:
                return self.login_refused or str(error.args[0].str())
            # A broker did respond. Since then librdkafka has given up its address for those that
            # it advertises, and none of them can be reached.
            self.cluster_id, self.has_controller = None, False
            self.brokers = dict(self._unreached)
            return None
        self.cluster_id = metadata.cluster_id
        self.brokers = {each.id: f"{each.host}:{each.port}" for each in metadata.brokers.values()}
        self._controller_id = metadata.controller_id
        self.has_controller = metadata.controller_id in self.brokers
        self.login_refused = ""
        return None

    def advertised_failure(self) -> str | None:
        """None once a broker has responded at the address that it advertises, else why none does.

        Only the first connection goes to ``bootstrap.servers``. Blocks for seconds at most.
        """
        is_known = self.cluster_id is not None
        if is_known and not self.has_controller:
            return None
        # The controller first: requests of the admin client go to it.
        asked = sorted(self.brokers, key=lambda each: each != self._controller_id)[:_MOST_ASKED]
        waiting: set[Future[Any]] = set()
        if is_known:
            waiting = {_broker_settings(self.admin, each, FACTS_TIMEOUT_S) for each in asked}
        while waiting:
            done, waiting = wait_for(waiting, return_when=FIRST_COMPLETED)
            if any(_refusal_of(each) is None for each in done):
                return None
        self.admin.poll(0)  # lets librdkafka say why
        if self.login_refused:
            return self.login_refused
        addresses = ", ".join(self.brokers[each] for each in asked)
        why = self._connection_error.partition(" (after")[0] or "no response in time"
        return (
            f"the cluster advertises {addresses}, where no broker responds ({why}): correct the "
            "brokers' advertised.listeners, or make that address reachable from here"
        )

    def ask(self, question: Callable[[AdminClient], Future[Any]]) -> Future[Any] | None:
        """Ask the brokers, without waiting. None where no controller is known: a mock cluster lets
        every question for one time out.
        """
        return question(self.admin) if self.has_controller else None

    # -- a topic that is consumed or written ----------------------------------------------------

    def partition_count(self, topic: str) -> int:
        """The number of partitions of a topic, 0 if it does not exist. Never creates it.

        Raises KafkaUnreachable, or ConfigurationError where the topic may not be described or its
        name is invalid.
        """
        # By name in the metadata: a mock cluster answers no other question about a topic.
        try:
            found = self.admin.list_topics(topic, timeout=_REQUEST_TIMEOUT_S).topics[topic]
        except KafkaException as error:
            raise KafkaUnreachable(f"topic {topic!r}: {error.args[0].str()}") from error
        if found.error is not None and found.error.code() in _REFUSALS:
            raise ConfigurationError(f"topic {topic!r}: {found.error.str()}")
        return len(found.partitions)

    def partitions(self, topic: str) -> int:
        """The number of partitions. Raises ConfigurationError if the topic does not exist."""
        count = self.partition_count(topic)
        if count:
            return count
        raise ConfigurationError(
            f"the topic {topic!r} does not exist on {self._servers}: create it, or name another "
            "one with --physical-topic"
        )

    def end_offsets(self, topic: str) -> dict[Partition, int]:
        """The current end of each partition, without open transactions."""
        targets = [TopicPartition(topic, index) for index in range(self.partitions(topic))]

        def ask() -> dict[Partition, int]:
            answers = self.admin.list_offsets(
                {target: OffsetSpec.latest() for target in targets},  # type: ignore[no-untyped-call]  # unannotated there
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=_REQUEST_TIMEOUT_S,
            )
            return {
                Partition(Topic(topic), target.partition): answer.result().offset
                for target, answer in answers.items()
            }

        try:
            return ask_patiently(ask, _REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise KafkaUnreachable(f"the ends of {topic!r}: {error.args[0].str()}") from error

    def create_topic(self, topic: str, partitions: int, config: Mapping[str, str]) -> None:
        """Create a topic, unless another client does so at the same time. Raises
        ConfigurationError where it can't be created.
        """
        request = NewTopic(topic, num_partitions=partitions, config=dict(config))
        answers = self.admin.create_topics([request], operation_timeout=_REQUEST_TIMEOUT_S)
        try:
            answers[topic].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return
            raise ConfigurationError(
                f"topic {topic!r} can't be created: {error.args[0].str()}"
            ) from error
        log.info("topic_created", topic=topic, partitions=partitions, config=dict(config))

    def ensure_dead_letter_topic(self, dead_letter_topic: str, source: str) -> None:
        """Create the dead letter topic if it does not exist.

        It gets one partition, no expiry (a dead letter stays until somebody deals with it), and
        room for the largest message of its source. Raises ConfigurationError if it can't be
        created.
        """
        if self.partition_count(dead_letter_topic):
            self._refuse_compaction(dead_letter_topic)
            return
        config = {"retention.ms": "-1", "cleanup.policy": "delete"}
        limit = self.largest_message(source)
        if limit is not None:
            config["max.message.bytes"] = str(limit + HEADER_ROOM_BYTES)
        try:
            self.create_topic(dead_letter_topic, 1, config)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"the dead letter {error}: create it, name another one with --dlq-topic, or run "
                "with --no-dlq"
            ) from error

    def _refuse_compaction(self, dead_letter_topic: str) -> None:
        if "compact" in (self._setting(dead_letter_topic, "cleanup.policy") or ""):
            raise ConfigurationError(
                f"the dead letter topic {dead_letter_topic!r} is compacted: Kafka refuses dead "
                "letters without a key, and deletes all but the last one of each key. To fix it: "
                f"kafka-configs.sh --bootstrap-server {self._servers} --alter --entity-type topics "
                f"--entity-name {dead_letter_topic} --add-config cleanup.policy=delete"
            )

    def largest_message(self, topic: str) -> int | None:
        """The topic's ``max.message.bytes``; None where its settings may not be read."""
        limit = self._setting(topic, "max.message.bytes")
        return None if limit is None else int(limit)

    def _setting(self, topic: str, name: str) -> str | None:
        if self.cluster_id is None:
            self.connect()
        response = self.ask(lambda admin: request_settings(admin, [topic])[topic])
        try:
            return None if response is None else settings_of(response).get(name)
        except KafkaException as error:
            log.info("topic_config_unreadable", topic=topic, why=error.args[0].str())
            return None

    # -- facts, asked in parallel and judged elsewhere ------------------------------------------

    def ask_broker(self, broker_id: int) -> KafkaError | None:
        """Ask one broker for its settings, at the address that it advertises; returns why it did
        not respond.
        """
        return _refusal_of(_broker_settings(self.admin, broker_id, FACTS_TIMEOUT_S))

    def describe_topics(self, names: Collection[str]) -> dict[str, TopicFacts]:
        """By name; each name has an entry."""
        described = self.admin.describe_topics(
            TopicCollection(list(names)),
            include_authorized_operations=True,
            request_timeout=FACTS_TIMEOUT_S,
        )
        settings = request_settings(self.admin, names)
        return {name: topic_facts(name, described[name], settings[name]) for name in names}

    def try_creating(self, topic: str) -> KafkaError | None:
        """Have the cluster validate a topic's creation; returns why it would refuse."""
        request = NewTopic(topic, num_partitions=1, config={"retention.ms": "-1"})
        answer = self.admin.create_topics(
            [request], validate_only=True, request_timeout=FACTS_TIMEOUT_S, operation_timeout=1.0
        )[topic]
        try:
            answer.result()
        except KafkaException as error:
            refusal: KafkaError = error.args[0]
            return refusal
        return None

    def group_operations(self, group: str) -> Operations:
        """This user's rights to a group, which need not exist. Raises KafkaException.

        Retries for as long as a request may take: a coordinator that is just getting ready, for a
        cluster's first group too, responds with one error or another.
        """
        deadline = monotonic() + FACTS_TIMEOUT_S
        while True:
            answer = self.admin.describe_consumer_groups(
                [group], include_authorized_operations=True, request_timeout=FACTS_TIMEOUT_S
            )[group]
            try:
                return operation_names(answer.result().authorized_operations)
            except KafkaException as error:
                refused = error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED
                if refused or monotonic() > deadline:
                    raise
            sleep(_RETRY_S)

    def newest_timestamp_ms(self, topic: TopicFacts) -> int | None:
        """The largest timestamp in a topic; None if it is empty or the broker can't tell."""
        wanted = {
            TopicPartition(topic.name, each.index): OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]  # unannotated there
            for each in topic.partitions
            if each.has_leader
        }
        if not wanted:
            return None
        answers = self.admin.list_offsets(wanted, request_timeout=FACTS_TIMEOUT_S)
        try:
            found = [answer.result().timestamp for answer in answers.values()]
        except KafkaException:
            return None  # before Kafka 3.0
        return max((timestamp for timestamp in found if timestamp > 0), default=None)


def _broker_settings(admin: AdminClient, broker_id: int, timeout_s: float) -> Future[Any]:
    """Only that broker can answer for them, and so at its advertised address."""
    resource = ConfigResource(ResourceType.BROKER, str(broker_id))
    response: Future[Any] = admin.describe_configs([resource], request_timeout=timeout_s)[resource]
    return response


def _refusal_of(response: Future[Any]) -> KafkaError | None:
    """Why a broker did not respond. A refusal to show its settings is a response."""
    try:
        response.result()
    except KafkaException as error:
        refusal: KafkaError = error.args[0]
        # librdkafka's own errors are below 0: nothing came from the broker.
        return refusal if refusal.code() < 0 else None
    return None
