"""Questions about a topic that are asked of the brokers again and again, without waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any, Generic, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from consumer_fleet.kafka.cluster import Cluster

_Known = TypeVar("_Known")

_IDENTITY_INTERVAL_S = 4.0
_IDENTITY_TIMEOUT_S = 4.0
_ENDS_INTERVAL_S = 1.0
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # it has no annotation
# Once may be the moment between a deletion and the creation that follows.
_ANSWERS_WITHOUT_TOPIC = 2


@dataclass(frozen=True, slots=True)
class Question(Generic[_Known]):
    """``read`` makes the known of a response and of what was known before: ``unknown`` at first."""

    ask: Callable[[AdminClient], Future[Any]]
    read: Callable[[Future[Any], _Known], _Known]
    unknown: _Known
    interval_s: float


class TopicWatch(Generic[_Known]):
    """Asks one question every ``interval_s``, one request at a time."""

    def __init__(
        self,
        cluster: Cluster,
        question: Question[_Known],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._cluster = cluster
        self._question = question
        self._clock = clock
        self._due = 0.0
        self._response: Future[Any] | None = None
        self._known = question.unknown

    def current(self) -> _Known:
        """By the last response. Never blocks."""
        if self._response is not None and self._response.done():
            self._take(self._response)
        now = self._clock()
        if self._response is None and now >= self._due:
            self._due = now + self._question.interval_s
            self._response = self._cluster.ask(self._question.ask)
        return self._known

    def wait(self) -> _Known:
        """Ask now, and block until the brokers respond: for seconds at most."""
        response = self._cluster.ask(self._question.ask)
        if response is not None:
            self._take(response)
        return self._known

    def _take(self, response: Future[Any]) -> None:
        self._response = None
        self._known = self._question.read(response, self._known)


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """Tells a topic from one of the same name that was created in its place (KIP-516).

    ``topic_id`` is empty where the brokers have no ids, or none is known yet.
    """

    topic_id: str = ""
    partitions: int = 0
    missing_in_a_row: int = 0

    @property
    def is_deleted(self) -> bool:
        return self.missing_in_a_row >= _ANSWERS_WITHOUT_TOPIC


def identity_of(topic: str) -> Question[TopicIdentity]:
    """Which topic has that name, if any: known to be deleted or another one within 10 s."""

    def ask(admin: AdminClient) -> Future[Any]:
        topics = TopicCollection([topic])
        responses = admin.describe_topics(topics, request_timeout=_IDENTITY_TIMEOUT_S)
        response: Future[Any] = responses[topic]
        return response

    return Question(ask, _read_identity, TopicIdentity(), _IDENTITY_INTERVAL_S)


def _read_identity(response: Future[Any], before: TopicIdentity) -> TopicIdentity:
    try:
        found = response.result()
    except KafkaException as error:
        is_missing = error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
        missing = before.missing_in_a_row + 1 if is_missing else 0
        return TopicIdentity(before.topic_id, before.partitions, missing)
    return TopicIdentity(str(found.topic_id), len(found.partitions))


def ends_of(
    topic: str, partitions: Callable[[], Iterable[int]], interval_s: float = _ENDS_INTERVAL_S
) -> Question[Mapping[int, int]]:
    """The end offset of each partition. A consumer knows only those of its last fetch, and does not
    fetch while it is paused.
    """

    def ask(admin: AdminClient) -> Future[Any]:
        wanted = {TopicPartition(topic, index): _LATEST for index in partitions()}
        if not wanted:
            nothing: Future[Any] = Future()
            nothing.set_result({})
            return nothing
        answers = admin.list_offsets(wanted, request_timeout=_IDENTITY_TIMEOUT_S)
        return _all_of({target.partition: answer for target, answer in answers.items()})

    def read(response: Future[Any], before: Mapping[int, int]) -> Mapping[int, int]:
        return {**before, **response.result()}

    return Question(ask, read, {}, interval_s)


def _all_of(answers: Mapping[int, Future[Any]]) -> Future[Any]:
    """The offsets of all that succeeded, once each has an answer."""
    combined: Future[Any] = Future()
    waiting = set(answers)
    lock = Lock()  # the client's thread and this one

    def note(index: int, _: Future[Any]) -> None:
        with lock:
            waiting.discard(index)
            is_last = not waiting
        if is_last:
            done = {i: answer for i, answer in answers.items() if answer.exception() is None}
            combined.set_result({i: answer.result().offset for i, answer in done.items()})

    for index, answer in answers.items():
        answer.add_done_callback(partial(note, index))
    return combined
