"""Notices that a topic was deleted, or deleted and created again under its name.

Offsets of the old topic mean nothing in the new one. A topic's id tells them apart (KIP-516).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

_INTERVAL_S = 4.0
_TIMEOUT_S = 4.0
# Once may be the moment between a deletion and the creation that follows.
_ANSWERS_WITHOUT_TOPIC = 2


class TopicWatch:
    """Asks for one topic's id every few seconds, and never blocks.

    ``topic_id`` is empty where the brokers have no ids, or none is known yet.
    """

    def __init__(
        self, admin: AdminClient, topic: str, clock: Callable[[], float] = monotonic
    ) -> None:
        self._admin = admin
        self._topic = topic
        self._clock = clock
        self._due = 0.0
        self._missing = 0
        self._answer: Future[Any] | None = None
        self.topic_id = ""

    @property
    def is_deleted(self) -> bool:
        return self._missing >= _ANSWERS_WITHOUT_TOPIC

    def ask(self) -> None:
        """Block until the id is known, for seconds at most."""
        self._answer = self._request()
        self._read(self._answer)
        self._answer = None

    def poll(self) -> None:
        """Take an answer that has arrived, and ask again when it is time."""
        if self._answer is not None and self._answer.done():
            answer, self._answer = self._answer, None
            self._read(answer)
        now = self._clock()
        if self._answer is None and now >= self._due:
            self._due = now + _INTERVAL_S
            self._answer = self._request()

    def _request(self) -> Future[Any]:
        topics = TopicCollection([self._topic])
        answers = self._admin.describe_topics(topics, request_timeout=_TIMEOUT_S)
        answer: Future[Any] = answers[self._topic]
        return answer

    def _read(self, answer: Future[Any]) -> None:
        try:
            self.topic_id = str(answer.result().topic_id)
        except KafkaException as error:
            is_missing = error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
            self._missing = self._missing + 1 if is_missing else 0
        else:
            self._missing = 0
