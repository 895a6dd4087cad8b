"""Produces dead letters, with an acknowledgement for each.

A dead letter is the original message: key, value and headers byte for byte. Why it was rejected is
in further headers (``consumer_fleet/dead_letter_headers.py``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import structlog
from arroyo.types import Partition
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from consumer_fleet.dead_letter_headers import Headers, with_facts
from consumer_fleet.errors import FleetError, UndeliverableMessage
from consumer_fleet.kafka.broker_watch import BrokerWatch
from consumer_fleet.kafka.chunk import DeadLetter, name_of
from consumer_fleet.kafka.clients import (
    failure_of,
    is_fatal,
    make_client,
    producer_config,
)
from consumer_fleet.kafka.topic_watch import TopicIdentity, TopicWatch
from consumer_fleet.metrics import incr

log = structlog.get_logger(__name__)

_RETRY_DELAY_S = 1.0
_LOG_INTERVAL_S = 10.0
_PURGE_S = 1.0
# Errors of a batch for which one of its messages may be the cause. librdkafka divides no batch.
_OF_A_BATCH = (
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError._INVALID_DIFFERENT_RECORD,
)


class Ticket:
    """One dead letter on its way. ``kept`` once the broker has acknowledged it.

    ``is_suspect`` while another one of its batch, or it, is why the topic refused both.
    """

    __slots__ = ("headers", "is_suspect", "kept", "letter")

    def __init__(self, letter: DeadLetter, headers: Headers) -> None:
        self.letter = letter
        self.headers = list(headers)
        self.is_suspect = False
        self.kept = False


class DeadLetterProducer:
    """Produces dead letters to ``topic`` and never gives up on one by itself.

    ``watch`` tells that the topic is gone before librdkafka does, which takes half a minute.
    Without a topic (``--no-dlq``) the first dead letter ends the run, through ``on_failure``:
    continuing would lose it. Used from the run loop's thread.
    """

    def __init__(
        self,
        base_config: Mapping[str, Any],
        topic: str | None,
        group: str,
        *,
        on_failure: Callable[[FleetError], None],
        watch: TopicWatch[TopicIdentity] | None = None,
    ) -> None:
        self._topic = topic
        self._watch = watch
        self._is_missing = False
        self._group = group
        self._on_failure = on_failure
        self._retries: deque[Ticket] = deque()
        self._retry_at = 0.0
        # Refused with their batch: these are sent one at a time.
        self._suspects: deque[Ticket] = deque()
        self._on_trial: Ticket | None = None
        self._log_at = 0.0
        self._outstanding: set[Ticket] = set()
        self._config = producer_config(base_config)
        self._producer: Producer | None = None
        if topic is not None:
            self._producer = self._connect()

    @property
    def is_off(self) -> bool:
        """True without a dead letter topic: no ticket will ever be kept."""
        return self._producer is None

    @property
    def idle(self) -> bool:
        return not self._outstanding

    @property
    def blocked(self) -> bool:
        """True while dead letters wait for a topic that refuses them."""
        return bool(self._retries or self._suspects) or self._is_missing

    def _connect(self) -> Producer:
        self._brokers = BrokerWatch()
        own = {"error_cb": self._on_client_error, **self._brokers.settings}
        return make_client(Producer, {**self._config, **own})

    def _on_client_error(self, error: KafkaError) -> None:
        if not self._brokers.note(error) and is_fatal(error):
            self._fail(error)

    def _fail(self, error: KafkaError) -> None:
        failure = failure_of(error)
        if failure is not None:
            self._on_failure(type(failure)(f"the dead-letter producer failed: {failure}"))

    def produce(self, partition: Partition, letter: DeadLetter) -> Ticket:
        """Send one dead letter. Never blocks; ``poll`` retries what a full queue refused."""
        facts = letter.facts(partition, self._group)
        ticket = Ticket(letter, with_facts(letter.record.headers, facts))
        if self._producer is None:
            message = f"{name_of(partition)} offset {letter.record.offset}"
            self._on_failure(
                UndeliverableMessage(
                    f"{message} was rejected ({letter.reason}: {letter.detail}), and there is no "
                    "dead letter topic (--no-dlq): allow one, or move the group past the message"
                )
            )
            return ticket
        log.warning(
            "dead_letter",
            topic=partition.topic.name,
            partition=partition.index,
            offset=letter.record.offset,
            reason=letter.reason,
            detail=letter.detail[:200],
        )
        self._outstanding.add(ticket)
        self._send(ticket)
        return ticket

    def _send(self, ticket: Ticket) -> None:
        def answered(error: KafkaError | None, _: KafkaMessage) -> None:
            self._answered(ticket, error)

        record = ticket.letter.record
        if self._producer is None or self._topic is None:
            return
        try:
            self._producer.produce(
                self._topic,
                key=record.key,
                value=record.value,
                headers=ticket.headers,
                on_delivery=answered,
            )
        except BufferError as error:
            self._retry(ticket, str(error))
        except KafkaException as error:
            refusal: KafkaError = error.args[0]
            self._fail(refusal) if is_fatal(refusal) else self._retry(ticket, refusal.str())

    def _answered(self, ticket: Ticket, error: KafkaError | None) -> None:
        if ticket is self._on_trial:
            self._on_trial = None
        if ticket not in self._outstanding:
            return
        if error is None:
            ticket.kept = True
            self._outstanding.discard(ticket)
            incr("dlq.produced")
        elif is_fatal(error):
            self._fail(error)
        else:
            ticket.is_suspect = error.code() in _OF_A_BATCH
            self._retry(ticket, error.str())

    def _retry(self, ticket: Ticket, why: str) -> None:
        incr("dlq.failed")
        if ticket is self._on_trial:
            self._on_trial = None
        self._retries.append(ticket)
        self._retry_at = monotonic() + _RETRY_DELAY_S
        if not self._is_missing:
            self._log_refusal(why, "retrying")

    def _log_refusal(self, why: str, what_now: str) -> None:
        now = monotonic()
        if now >= self._log_at:
            self._log_at = now + _LOG_INTERVAL_S
            log.error(
                "dead_letter_topic_refuses",
                topic=self._topic,
                why=why,
                waiting=len(self._outstanding),
                what_now=f"{what_now}; partitions pause meanwhile, and nothing is dropped",
            )

    def _check_topic(self) -> None:
        """Ask about the topic, only while dead letters wait for it."""
        if self._watch is None or not self._outstanding:
            self._is_missing = False
            return
        self._is_missing = self._watch.current().missing_in_a_row > 0
        if self._is_missing:
            self._log_refusal(
                "it was deleted", "create it, or restart this consumer, which creates it"
            )

    def poll(self, timeout_s: float = 0.0) -> None:
        """Serve acknowledgements and retry failures. Blocks for ``timeout_s`` at most."""
        if self._producer is None:
            return
        self._producer.poll(timeout_s)
        self._check_topic()
        if self._brokers.none_known:
            self._producer.purge()  # each gets an error, and so is retried
            self._producer.flush(_PURGE_S)
            self._producer = self._connect()
        if self._retries and monotonic() >= self._retry_at:
            retries, self._retries = self._retries, deque()
            for ticket in retries:
                self._suspects.append(ticket) if ticket.is_suspect else self._send(ticket)
        if self._suspects and self._on_trial is None:
            self._on_trial = self._suspects.popleft()
            self._send(self._on_trial)

    def forget_all(self) -> None:
        """Stop retrying: their offsets are not committed, so they are read again."""
        self._outstanding.clear()
        self._retries.clear()
        self._suspects.clear()
        self._on_trial = None

    def close(self, timeout_s: float) -> None:
        if self._producer is not None:
            self._producer.flush(timeout_s)
