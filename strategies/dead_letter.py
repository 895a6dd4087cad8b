"""The step that stores rejected messages in the dead-letter topic before their commit."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import Protocol

import structlog
from arroyo.processing.strategies.abstract import MessageRejected, ProcessingStrategy
from arroyo.types import Message, Partition

from consumer_fleet.kafka.chunk import DeadLetter
from consumer_fleet.strategies.run_in_workers import Settled

log = structlog.get_logger(__name__)

# Settled prefixes, and payload bytes in them, that may wait for the dead-letter topic. Beyond
# these, the partitions pause.
_MAX_WAITING = 100
_MAX_WAITING_BYTES = 16 * 1024 * 1024


class Ticket(Protocol):
    """A dead letter on its way into the store."""

    @property
    def kept(self) -> bool: ...


class DeadLetterStore(Protocol):
    """A store of dead letters: a topic (``DeadLetterProducer``) or a file."""

    @property
    def is_off(self) -> bool:
        """Nothing will be stored any more."""

    @property
    def idle(self) -> bool:
        """No ticket is open."""

    def produce(self, partition: Partition, letter: DeadLetter) -> Ticket:
        """Store one dead letter, later. Never blocks."""

    def poll(self, timeout_s: float = 0.0) -> None:
        """Make progress. Blocks at most ``timeout_s``, or as long as a disk takes."""

    def forget_all(self) -> None:
        """Give up the dead letters that are not stored yet: their offsets are not committed."""


class KeepDeadLetters(ProcessingStrategy[Settled]):
    """Pass a settled prefix on once each dead letter in it is stored: a broker acknowledged it.

    A dead letter that can't be produced is retried without limit. Meanwhile this step rejects new
    prefixes, the partitions pause, and nothing is dropped or committed past it.
    """

    def __init__(self, store: DeadLetterStore, next_step: ProcessingStrategy[Settled]) -> None:
        self._store = store
        self._next_step = next_step
        self._waiting: deque[tuple[Message[Settled], list[Ticket]]] = deque()
        self._waiting_bytes = 0
        self._closed = False

    def submit(self, message: Message[Settled]) -> None:
        """Never blocks. Raises MessageRejected while the dead-letter topic does not keep up."""
        full = len(self._waiting) >= _MAX_WAITING or self._waiting_bytes >= _MAX_WAITING_BYTES
        if self._closed or full:
            raise MessageRejected
        partition = next(iter(message.committable))
        self._waiting.append((message, self._produce(partition, message.payload)))
        self._waiting_bytes += message.payload.size
        self._pass_on()

    def _produce(self, partition: Partition, settled: Settled) -> list[Ticket]:
        return [self._store.produce(partition, letter) for letter in settled.dead_letters]

    def poll(self) -> None:
        self._next_step.poll()
        self._store.poll()
        self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting and all(ticket.kept for ticket in self._waiting[0][1]):
            message, _ = self._waiting.popleft()
            self._waiting_bytes -= message.payload.size
            self._next_step.submit(message)

    def close(self) -> None:
        """The step before calls it once it is drained: nothing more comes."""
        self._closed = True

    def abandon(self) -> None:
        """Give up what is not stored yet: it is not committed, and its next owner stores it."""
        self._store.forget_all()
        self._waiting.clear()
        self._waiting_bytes = 0

    def terminate(self) -> None:
        self._closed = True
        self.abandon()
        self._next_step.terminate()

    def join(self, timeout: float | None = None) -> None:
        """Wait for acknowledgements. Prefixes without one in time are not committed. Blocks."""
        started = monotonic()
        deadline = None if timeout is None else started + timeout
        # However short the time: acknowledgements that have arrived count.
        self._store.poll()
        self._pass_on()
        while (
            self._waiting
            and not self._store.is_off
            and (deadline is None or monotonic() < deadline)
        ):
            self._store.poll(0.05)
            self._pass_on()
        if self._waiting:
            log.warning("dead_letters_unacknowledged", prefixes=len(self._waiting))
            self.abandon()
        self._next_step.close()
        remaining = None if timeout is None else max(0.0, timeout - (monotonic() - started))
        self._next_step.join(remaining)
