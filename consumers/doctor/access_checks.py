"""May this user do what a consumer does?"""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from consumers.doctor.cluster_facts import TopicFacts, group_operations, may_create
from consumers.doctor.finding import Finding, ok, problem, warning
from consumers.doctor.subjects import Subject


def examine_access(
    admin: AdminClient,
    subject: Subject,
    source: TopicFacts,
    dead_letters: TopicFacts | None,
    server: str,
) -> Iterator[Finding]:
    """All findings about rights. A cluster without an authorizer allows everything."""
    yield from topic_access(source, server)
    try:
        operations = group_operations(admin, subject.group)
    except KafkaException as error:
        yield group_refused(subject.group, error.args[0], server)
    else:
        yield from group_access(subject.group, operations, server)
    if dead_letters is None:
        return
    if dead_letters.exists or dead_letters.error == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        yield from dead_letter_access(dead_letters, server)
    else:
        yield judge_creation(dead_letters.name, may_create(admin, dead_letters.name), server)


def topic_access(topic: TopicFacts, server: str) -> Iterator[Finding]:
    """Reading, and reading the settings, without which retention can't be judged."""
    if topic.error == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        yield _refused("topic.access", "topic", topic.name, "Read", server)
    if not topic.exists:
        return
    if _lacks("READ", topic.operations):
        yield _refused("topic.access", "topic", topic.name, "Read", server)
    if topic.settings is None:
        yield warning(
            "topic.access",
            topic.name,
            f"its settings may not be read ({topic.settings_error}): retention is not checked",
            _grant("topic", topic.name, "DescribeConfigs", server),
        )
    elif not _lacks("READ", topic.operations):
        yield ok("topic.access", topic.name, _allowed("it may be read", topic.operations))


def group_access(group: str, operations: frozenset[str] | None, server: str) -> Iterator[Finding]:
    """Joining, and committing, which take the same right."""
    if _lacks("READ", operations):
        yield _refused("group.access", "group", group, "Read", server)
    else:
        yield ok("group.access", group, _allowed("it may be joined", operations))


def group_refused(group: str, error: KafkaError, server: str) -> Finding:
    """The group could not even be asked about."""
    if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        return _refused("group.access", "group", group, "Read", server)
    return warning(
        "group.access",
        group,
        f"its coordinator does not answer: {error.str()}",
        "Look at the brokers' logs, and try again.",
    )


def dead_letter_access(topic: TopicFacts, server: str) -> Iterator[Finding]:
    if not topic.exists:
        yield problem(
            "dead_letters.access",
            topic.name,
            "it may not be looked at: if it exists, it may not be written to",
            _grant("topic", topic.name, "Write", server),
        )
    elif _lacks("WRITE", topic.operations):
        yield _refused("dead_letters.access", "topic", topic.name, "Write", server)
    else:
        yield ok(
            "dead_letters.access", topic.name, _allowed("it may be written to", topic.operations)
        )


def judge_creation(topic: str, refusal: KafkaError | None, server: str) -> Finding:
    """A dead letter topic that is missing: the consumer makes it, if it may."""
    if refusal is None:
        return ok(
            "dead_letters.exists", topic, "it is missing, and will be made at the first start"
        )
    if refusal.code() in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    ):
        why = "may not be made by this user"
    else:
        why = f"can't be made: {refusal.str()}"
    return problem(
        "dead_letters.exists",
        topic,
        f"it is missing, and {why}",
        f"Create it, name another one with dlq_topic, or grant Create.\n"
        f"kafka-topics.sh --bootstrap-server {server} --create --topic {topic} "
        f"--partitions 1 --config retention.ms=-1",
    )


def _lacks(right: str, operations: frozenset[str] | None) -> bool:
    """A broker that does not tell may well allow it."""
    return operations is not None and not operations & {right, "ALL"}


def _allowed(what: str, operations: frozenset[str] | None) -> str:
    return what if operations is not None else "the cluster does not say what is allowed"


def _refused(check: str, kind: str, name: str, right: str, server: str) -> Finding:
    return problem(check, name, f"{right} is not allowed", _grant(kind, name, right, server))


def _grant(kind: str, name: str, right: str, server: str) -> str:
    return (
        "Grant it, as an administrator, to the user that consumes:\n"
        f"kafka-acls.sh --bootstrap-server {server} --add --allow-principal User:NAME "
        f"--operation {right} --{kind} {name}"
    )
