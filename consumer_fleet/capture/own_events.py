"""This program's own events: bugs that are reported, chunks that are traced, what is safe to send
to saas, and what was lost.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Final

import orjson
import sentry_sdk
import sentry_sdk.envelope
from sentry_sdk.tracing import Span

from consumer_fleet.capture.counts import Incr
from consumer_fleet.capture.envelope import Envelope, build, make_item
from consumer_fleet.capture.held import Held
from consumer_fleet.errors import RejectedMessage
from consumer_fleet.throttle import Throttle


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

    def add_item(self, reason: str, item: sentry_sdk.envelope.Item) -> None:
        """Count an item as the SDK's own transport does: with the spans of a transaction, the
        items and the bytes of a batch, and the bytes of an attachment.
        """
        for category, quantity in _quantities(item):
            self.add(reason, category, quantity)

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


_BATCHES: Final[Mapping[str, str | None]] = {
    "span": None,
    "log_item": "log_byte",
    "trace_metric": "trace_metric_byte",
}


def _quantities(item: sentry_sdk.envelope.Item) -> Iterator[tuple[str, int]]:
    category = item.data_category
    quantity = 1
    if category == "transaction":
        event: Mapping[str, Any] = item.get_transaction_event() or {}
        # The transaction is a span, too.
        yield "span", len(event.get("spans") or ()) + 1
    elif category in _BATCHES:
        count = item.headers.get("item_count")
        if isinstance(count, int) and count > 0:
            quantity = count
        if (bytes_category := _BATCHES[category]) is not None:
            yield bytes_category, len(item.get_bytes())
    elif category == "attachment":
        quantity = len(item.get_bytes()) or 1
    yield category, quantity


_REPORT_INTERVAL_S: Final = 60.0


class BugReports:
    """Report errors of this program as Sentry events: of each type of exception, one a minute.

    Without ``self_reporting``, the SDK has no client and drops them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._throttle = Throttle(clock)
        self._left_out: dict[str, int] = {}

    def report(self, error: BaseException, **tags: str) -> None:
        """Report it, unless one of its type was reported within the last minute. Never raises."""
        kind = f"{type(error).__module__}.{type(error).__qualname__}"
        if not self._throttle.is_due(kind, _REPORT_INTERVAL_S):
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return
        report_bug(error, left_out=str(self._left_out.pop(kind, 0)), **tags)


def report_bug(error: BaseException, **tags: str) -> None:
    """Report one error as a Sentry event. Never raises."""
    with suppress(Exception), sentry_sdk.new_scope() as scope:
        for name, value in tags.items():
            scope.set_tag(name, value)
        if is_unsafe(error):
            scope.set_tag(UNSAFE_TAG, "true")
        sentry_sdk.capture_exception(error)


def report_last_bug(error: BaseException, timeout_s: float) -> None:
    """Report an error that ends this process, and end the SDK's transport. Never raises.

    Blocks until the own events are sent, at most ``timeout_s``.
    """
    report_bug(error)
    with suppress(Exception):  # the bug may be in what sends the report
        transport = sentry_sdk.get_client().transport
        if transport is not None:
            getattr(transport, "flush_own", transport.flush)(timeout_s)
            # Otherwise the SDK waits once more when the interpreter ends.
            transport.kill()


_UNSAFE_ATTRIBUTE: Final = "consumer_fleet_is_unsafe"


def mark_as_unsafe(error: Exception) -> None:
    """Keep the report about this error from saas."""
    setattr(error, _UNSAFE_ATTRIBUTE, True)


def is_unsafe(error: BaseException) -> bool:
    """Whether the report about this error could cause the same error again: it is marked so, or it
    comes from this package.
    """
    if getattr(error, _UNSAFE_ATTRIBUTE, False):
        return True
    frames = traceback.walk_tb(error.__traceback__)
    return any(_is_of_capture(frame) for frame, _ in frames)


def start_chunk_trace(topic: str, partition: int, offsets: Sequence[int]) -> Span:
    """Start a transaction for a chunk, which ends with ``finish()``.

    The SDK's rate (``traces_sample_rate``) decides whether it is sent.
    """
    trace = sentry_sdk.start_transaction(name=f"consume {topic}", op="queue.process")
    trace.set_data("messaging.system", "kafka")
    trace.set_data("messaging.destination.name", topic)
    trace.set_data("messaging.destination.partition.id", str(partition))
    trace.set_data("messaging.kafka.offset", offsets[0])
    trace.set_data("messaging.batch.message_count", len(offsets))
    return trace


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


def _is_of_capture(frame: FrameType) -> bool:
    """Whether it runs code of this package, other than that which reports."""
    name = frame.f_code.co_filename
    return name.startswith(_PACKAGE) and name != __file__


def _comes_from_capture(innermost: FrameType | None) -> bool:
    """Whether the stack enters this package, leaves it, and is in it again.

    Every own event ends in this package. One that begins in it too is unsafe: sending it may cause
    the next one.
    """
    has_left = False
    frame = innermost
    while frame is not None:
        is_ours = _is_of_capture(frame)
        if has_left and is_ours:
            return True
        has_left = has_left or not is_ours
        frame = frame.f_back
    return False


class OwnEventRecipient:
    """The recipient of own events, which nothing waits for."""

    abandoned = False
    draining = False
    # They can't be read again, and are dropped rather than kept: they wait where they are.
    can_hold = False

    def __init__(self) -> None:
        self.in_flight = 0

    def accepted(self, number: int, destination: str) -> None:
        """Nothing to remember: an own event is never sent again."""

    def done(self, number: int, rejection: RejectedMessage | None) -> None:
        self.in_flight -= 1

    def dropped(self, number: int) -> None:
        self.in_flight -= 1

    def held(self, number: int, held: Held) -> None:
        """Never called: it can't hold."""

    def given_up(self, number: int) -> None:
        """Never called: it does not drain."""
