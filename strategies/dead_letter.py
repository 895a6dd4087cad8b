"""The step that keeps rejected messages in the dead letter topic before their commit."""

from __future__ import annotations

from collections import deque
from time import monotonic

import structlog
from arroyo.processing.strategies.abstract import MessageRejected, ProcessingStrategy
from arroyo.types import Message, Partition

from fleet.kafka.dead_letters import DeadLetterProducer, Ticket
from strategies.run_in_workers import Settled

log = structlog.get_logger(__name__)

# Settled prefixes that may wait for the dead letter topic; beyond, the partitions pause.
_MAX_WAITING = 100


class KeepDeadLetters(ProcessingStrategy[Settled]):
    """Passes a settled prefix on once the broker has acknowledged each dead letter in it.

    A dead letter that can't be produced is tried again for ever: this step then rejects what
    comes, the partitions pause, and nothing is dropped or committed past it.
    """

    def __init__(
        self, producer: DeadLetterProducer, next_step: ProcessingStrategy[Settled]
    ) -> None:
        self._producer = producer
        self._next_step = next_step
        self._waiting: deque[tuple[Message[Settled], list[Ticket]]] = deque()

    def submit(self, message: Message[Settled]) -> None:
        """Never blocks. Raises MessageRejected while the dead letter topic does not keep up."""
        if len(self._waiting) >= _MAX_WAITING:
            raise MessageRejected
        partition = next(iter(message.committable))
        self._waiting.append((message, self._produce(partition, message.payload)))
        self._pass_on()

    def _produce(self, partition: Partition, settled: Settled) -> list[Ticket]:
        return [self._producer.produce(partition, letter) for letter in settled.dead_letters]

    def poll(self) -> None:
        self._next_step.poll()
        self._producer.poll()
        self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting and all(ticket.kept for ticket in self._waiting[0][1]):
            self._next_step.submit(self._waiting.popleft()[0])

    def close(self) -> None:
        """Nothing to do: the step before closes this one once it is drained."""

    def terminate(self) -> None:
        self._producer.forget_all()
        self._waiting.clear()
        self._next_step.terminate()

    def join(self, timeout: float | None = None) -> None:
        """Wait for acknowledgements. What has none in time is not committed. Blocks."""
        started = monotonic()
        deadline = None if timeout is None else started + timeout
        while self._waiting and (deadline is None or monotonic() < deadline):
            self._producer.poll(0.05)
            self._pass_on()
        if self._waiting:
            log.warning("dead_letters_unacknowledged", prefixes=len(self._waiting))
            self._producer.forget_all()
            self._waiting.clear()
        self._next_step.close()
        remaining = None if timeout is None else max(0.0, timeout - (monotonic() - started))
        self._next_step.join(remaining)
