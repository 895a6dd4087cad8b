"""This program's own events: which are safe to send to saas, and which were lost."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import FrameType
from typing import Final

import orjson
import sentry_sdk

from consumer_fleet.capture.counts import Incr
from consumer_fleet.capture.envelope import Envelope, build, make_item
from consumer_fleet.errors import RejectedMessage


class LostEvents:
    """Count what was lost, by reason and data category. Any thread."""

    def __init__(self, incr: Incr) -> None:
        self._incr = incr
        self._lost: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def add(self, reason: str, category: str, quantity: int = 1) -> None:
        """Count a loss, here and in the metrics."""
        with self._lock:
            key = (reason, category)
            self._lost[key] = self._lost.get(key, 0) + quantity
        tags = {"reason": reason, "category": category}
        self._incr("internal.lost_events", tags=tags, amount=quantity)

    def take_report(self) -> Envelope | None:
        """Make a client report of the losses since the last one; None if there were none."""
        with self._lock:
            lost, self._lost = self._lost, {}
        if not lost:
            return None
        discarded = [
            {"reason": reason, "category": category, "quantity": quantity}
            for (reason, category), quantity in lost.items()
        ]
        payload = orjson.dumps({"timestamp": time.time(), "discarded_events": discarded})
        return build(None, [make_item("client_report", payload)])


UNSAFE_TAG: Final = "_unsafe"

_PACKAGE: Final = os.path.dirname(__file__) + os.sep  # noqa: PTH120 - compared with frames' strings


def is_current_event_safe() -> bool:
    """Return False if the scope is tagged ``_unsafe`` or the event comes from this package.

    Call it in the thread that captures the event, while it does.
    """
    scopes = (sentry_sdk.get_current_scope(), sentry_sdk.get_isolation_scope())
    # The SDK has no public way to read a tag back.
    if any(scope._tags.get(UNSAFE_TAG) for scope in scopes):
        return False
    return not _comes_from_capture(sys._getframe(1))


def _comes_from_capture(innermost: FrameType | None) -> bool:
    """Whether the stack enters this package, leaves it, and is in it again.

    Every own event ends in this package. One that begins in it too is unsafe: sending it may cause
    the next one.
    """
    has_left = False
    frame = innermost
    while frame is not None:
        is_ours = frame.f_code.co_filename.startswith(_PACKAGE)
        if has_left and is_ours:
            return True
        has_left = has_left or not is_ours
        frame = frame.f_back
    return False


class OwnEventRecipient:
    """The recipient of own events, which nothing waits for."""

    abandoned = False

    def __init__(self) -> None:
        self.in_flight = 0

    def accepted(self, number: int, destination: str) -> None:
        """Nothing to remember: an own event is never sent again."""

    def done(self, number: int, rejection: RejectedMessage | None) -> None:
        self.in_flight -= 1
