"""Circles: the Sentry that writes a topic gets the topic's own messages, and writes them again.

Copies are skipped, so that a circle ends; where they are many, the destinations are paused.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

import structlog

from consumer_fleet.capture.counts import SentIds
from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.capture.transport import MultiplexingTransport
from consumer_fleet.throttle import Throttle
from consumer_fleet.worker.protocol import Task
from consumer_fleet.worker.windows import HasComeBack

log = structlog.get_logger(__name__)

#: The reason that copies are skipped for.
CIRCLE: Final = "circle"
_LOG_INTERVAL_S: Final = 60.0
# So many different copies, and this share of the envelopes, pause the destinations. In a whole
# circle a third are copies, since an id may be sent twice.
_COPIES_TO_PAUSE: Final = 20
_SHARE_TO_PAUSE: Final = 0.25
_PAUSE_S: Final = 60.0
# The share is that of at most so many envelopes, or a circle would be noticed late.
_WINDOW: Final = 1000
_ADVICE: Final = (
    "check the DSN: its host seems to be the Sentry that writes the topic. If a client sends the "
    "same events again and again, the DSN is right"
)


class CircleGuard:
    """Says what follows from the envelopes that one worker has found to be copies.

    ``sent`` is None where no topic is followed: a replay may well be one of the same messages.
    """

    def __init__(
        self,
        sent: SentIds | None,
        transport: MultiplexingTransport,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.has_come_back: HasComeBack = _never if sent is None else sent.has_come_back
        self._sent = sent
        self._transport = transport
        self._throttle = Throttle(clock)
        self._marked = 0
        self._skipped = 0
        # The numbers of accepted envelopes and of copies where the window begins.
        self._begin = (0, 0)
        self._reason = ""

    def skipped(self, task: Task, position: int, envelope: Envelope | None) -> None:
        """A copy is skipped: known by its id, or by a destination's mark where it is None."""
        self._skipped += 1
        if envelope is None:
            self._marked += 1
            header = (task.values[position] or b"").partition(b"\n")[0]
            senders = [each for each in self._transport.destinations if each.dsn.mark in header]
        else:
            senders = list(self._transport.route_of(envelope.project_id).destinations)
        if self._throttle.is_due(CIRCLE, _LOG_INTERVAL_S):
            log.warning(
                "circle",
                topic=task.topic,
                partition=task.partition,
                offset=task.offsets[position],
                destinations={each.name: each.dsn.host for each in senders},
                skipped=self._skipped,
                what_to_do=_ADVICE,
            )
            self._skipped = 0
        if self._are_many():
            for each in senders:
                each.pause(self._reason, _ADVICE, _PAUSE_S)

    def _are_many(self) -> bool:
        by_id = 0 if self._sent is None else self._sent.came_back
        now = (max(self._transport.accepted(), default=0), by_id + self._marked)
        accepted, copies = (total - begin for total, begin in zip(now, self._begin, strict=True))
        envelopes = accepted + copies
        are_many = copies >= _COPIES_TO_PAUSE and copies >= _SHARE_TO_PAUSE * envelopes
        if are_many or envelopes >= _WINDOW:
            self._begin = now
        self._reason = f"circle: {copies} of {envelopes} envelopes had been sent before"
        return are_many


def _never(_envelope: Envelope, _place: int, salt: int = 0) -> bool:
    return False
