"""The step that keeps rejected messages in the dead letter topic before their commit."""

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

# Settled prefixes, and payload bytes in them, that may wait for the dead letter topic; beyond,
# the partitions pause.
_MAX_WAITING = 100
_MAX_WAITING_BYTES = 16 * 1024 * 1024


class Ticket(Protocol):
    """The promise that one dead letter will be kept."""

    @property
    def kept(self) -> bool: ...


class DeadLetterStore(Protocol):
    """Where dead letters are kept: a topic (``DeadLetterProducer``), or a file."""

    @property
    def is_off(self) -> bool:
        """No ticket will be kept any more."""

    @property
    def idle(self) -> bool:
        """No ticket is open."""

    def produce(self, partition: Partition, letter: DeadLetter) -> Ticket:
        """Hand over one dead letter. Never blocks."""

    def poll(self, timeout_s: float = 0.0) -> None:
        """Do what keeps tickets. Blocks at most ``timeout_s``, or as long as a disk takes."""

    def forget_all(self) -> None:
        """Give up what is not kept yet: its offsets are not committed."""


class KeepDeadLetters(ProcessingStrategy[Settled]):
    """Passes a settled prefix on once each dead letter in it is kept: a broker acknowledged it.

    A dead letter that can't be produced is tried again for ever: this step then rejects what
    comes, the partitions pause, and nothing is dropped or committed past it.
    """

    def __init__(self, store: DeadLetterStore, next_step: ProcessingStrategy[Settled]) -> None:
        self._store = store
        self._next_step = next_step
        self._waiting: deque[tuple[Message[Settled], list[Ticket]]] = deque()
        self._waiting_bytes = 0
        self._closed = False

    def submit(self, message: Message[Settled]) -> None:
        """Never blocks. Raises MessageRejected while the dead letter topic does not keep up."""
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
        """Called by the step before once it is drained: nothing more comes."""
        self._closed = True

    def abandon(self) -> None:
        """Give up what is not kept yet: it is not committed, and its next owner keeps it."""
        self._store.forget_all()
        self._waiting.clear()
        self._waiting_bytes = 0

    def terminate(self) -> None:
        self._closed = True
        self.abandon()
        self._next_step.terminate()

    def join(self, timeout: float | None = None) -> None:
        """Wait for acknowledgements. What has none in time is not committed. Blocks."""
        started = monotonic()
        deadline = None if timeout is None else started + timeout
        # However little time there is: acknowledgements that are already here count.
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
