"""The transport of the pipeline and of the SDK: every envelope to the upstream, then to saas."""

from __future__ import annotations

import os
import sys
import threading
import time
import zlib
from collections.abc import Callable, Collection
from functools import partial
from types import FrameType
from typing import Any, Final

import orjson
import sentry_sdk
import sentry_sdk.envelope
import sentry_sdk.transport
import structlog

from consumer_fleet import metrics
from consumer_fleet.capture.delivery import Delivery, DestinationStatus, Incr, Receipt, Tally
from consumer_fleet.capture.delivery_loop import DeliveryLoop
from consumer_fleet.capture.destination import Destination, OpenPosts
from consumer_fleet.capture.envelope import Envelope, build, make_item, parse
from consumer_fleet.capture.http_posts import HttpPosts
from consumer_fleet.capture.options import CaptureOptions, DestinationOptions
from consumer_fleet.errors import RejectedMessage


class Losses:
    """Adds up by reason and data category. Any thread."""

    def __init__(self, incr: Incr) -> None:
        self._incr = incr
        self._lost: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def add(self, reason: str, category: str, quantity: int = 1) -> None:
        """Count a loss, here and in the metrics."""
        with self._lock:
            place = (reason, category)
            self._lost[place] = self._lost.get(place, 0) + quantity
        tags = {"reason": reason, "category": category}
        self._incr("internal.lost_events", tags=tags, amount=quantity)

    def take_report(self) -> Envelope | None:
        """A report of what was lost since the last one; None if nothing was."""
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
    """False if the scope is tagged ``_unsafe`` or the event comes out of this package.

    For the thread that captures the event, while it does.
    """
    scopes = (sentry_sdk.get_current_scope(), sentry_sdk.get_isolation_scope())
    # The SDK has no public way to read a tag back.
    if any(scope._tags.get(UNSAFE_TAG) for scope in scopes):
        return False
    return not _comes_from_capture(sys._getframe(1))


def _comes_from_capture(innermost: FrameType | None) -> bool:
    """Whether the stack enters this package, leaves it, and is in it again.

    Each own event ends in this package; those that begin in it too are the unsafe ones.
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


log = structlog.get_logger(__name__)

__all__ = ["MultiplexingTransport", "Receipt"]

# Own events have no place in Kafka to come back from and nothing that waits for them: while no
# destination takes them, memory holds this many, and later ones are dropped and counted.
_OWN_EVENTS_MAX: Final = 1000
_TURN_S: Final = 1.0
_FLUSH_CALLBACK_AFTER_S: Final = 0.1


class MultiplexingTransport(sentry_sdk.transport.Transport):
    """Splits captured envelopes over two destinations and says when they are delivered.

    Whoever builds it calls either `run_once` again and again (a worker's loop) or `start_thread`
    (a process that sends nothing but its own events).
    """

    def __init__(
        self,
        upstream: Destination | None,
        saas: Destination | None,
        loop: DeliveryLoop,
        *,
        upstream_metrics_enabled: bool,
        saas_sample_rate: float,
        incr: Incr = metrics.incr,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(options)
        self.in_flight = 0
        self._upstream = upstream
        self._saas = saas
        self._loop = loop
        self._upstream_metrics_enabled = upstream_metrics_enabled
        self._saas_sample_rate = saas_sample_rate
        self._incr = incr
        self._tally = Tally(incr, loop.clock)
        self._to_upstream = self._tally.count("internal.captured.events.upstream")
        self._to_saas = self._tally.count("internal.captured.events.relay")
        self._losses = Losses(incr)
        self._own_in_flight = 0
        self._lock = threading.Lock()  # for the own events, which come from any thread
        self._capturing = threading.local()
        self._thread: threading.Thread | None = None

    def capture(
        self,
        envelope: Envelope,
        receipt: Receipt,
        *,
        sampling_key: str,
        skip: Collection[str] = (),
    ) -> None:
        """The pipeline's path. Never blocks; for the thread that calls `run_once`.

        ``skip`` names destinations that took the envelope before a worker died. The same
        ``sampling_key`` gets the same decision about the saas sample rate at each delivery.
        """
        self.in_flight += 1
        delivery = Delivery(receipt, self._settle)
        try:
            self._capture_anything(envelope, delivery, sampling_key=sampling_key, skip=skip)
        except BaseException:
            self.in_flight -= 1  # nobody will settle it: the error goes on to the caller
            raise

    def capture_envelope(self, envelope: sentry_sdk.envelope.Envelope) -> None:
        """The SDK's path, for own events: any thread, no receipt, best effort."""
        if getattr(self._capturing, "is_active", False):
            self._losses.add("recursion", "error")
            return
        self._capturing.is_active = True
        try:
            self._capture_own(envelope)
        finally:
            self._capturing.is_active = False

    def _capture_own(self, envelope: sentry_sdk.envelope.Envelope) -> None:
        with self._lock:
            has_room = self._own_in_flight < _OWN_EVENTS_MAX and not self._loop.is_closed
            self._own_in_flight += has_room
        if not has_room:
            self._losses.add("queue_overflow", "error")
            return
        try:
            self._send_own(envelope)
        except Exception:
            # The SDK would pass it on to whoever logged something: it ends here, in the log.
            log.exception("own_event_failed")
            self._settle_own()
            self._losses.add("internal_sdk_error", "error")

    def _send_own(self, envelope: sentry_sdk.envelope.Envelope) -> None:
        frames = parse(envelope.serialize())
        is_transaction = any(item.type == "transaction" for item in frames.items)
        kind = "transactions" if is_transaction else "envelopes"
        self._tally.count(f"internal.captured.events.{kind}").add()
        delivery = Delivery(None, self._settle_own)
        key = frames.event_id or ""
        self._capture_anything(frames, delivery, sampling_key=key, is_own=True)

    def _capture_anything(
        self,
        envelope: Envelope,
        delivery: Delivery,
        *,
        sampling_key: str,
        skip: Collection[str] = (),
        is_own: bool = False,
    ) -> None:
        """Give the envelope to the upstream, then to saas; what stops one never stops the other.

        The upstream comes first because it is the one whose loss would go unnoticed the longest.
        """
        failures: list[Exception] = []
        upstream, saas = self._upstream, self._saas
        if upstream is not None and upstream.name not in skip:
            self._to_upstream.add()
            copy = self._for_upstream(envelope)
            self._send(upstream, copy, delivery, failures)
        if saas is not None and saas.name not in skip and self._is_sampled(sampling_key):
            if is_own and not is_current_event_safe():
                self._incr("internal.uncaptured.events.relay", tags={"reason": "unsafe"})
            else:
                self._to_saas.add()
                # The envelope as it came: what was left out for the upstream is in here.
                self._send(saas, envelope, delivery, failures)
        if failures:
            raise failures[0]
        delivery.all_asked()

    def _send(
        self,
        destination: Destination,
        envelope: Envelope,
        delivery: Delivery,
        failures: list[Exception],
    ) -> None:
        if not envelope.items:
            self._tally.count("capture.filtered", {"destination": destination.name}).add()
            return
        if destination.required:
            delivery.expect()
        on_done = partial(delivery.done, destination.name, destination.required)
        try:
            destination.send(envelope, on_done, delivery.is_abandoned)
        except Exception as error:  # a bug in one may not cost the other its data
            log.exception("destination_failed", destination=destination.name)
            if destination.required:
                failures.append(error)
            else:
                tags = {"destination": destination.name, "reason": "internal_error"}
                self._incr("capture.dropped", tags=tags)

    def _for_upstream(self, envelope: Envelope) -> Envelope:
        """The envelope itself, or a copy without its statsd items.

        By the item's own type: the SDK's data categories no longer know statsd.
        """
        if self._upstream_metrics_enabled or not _has_statsd(envelope):
            return envelope
        items = tuple(item for item in envelope.items if item.type != "statsd")
        return envelope._replace(items=items)

    def _is_sampled(self, sampling_key: str) -> bool:
        if self._saas_sample_rate >= 1.0:
            return True
        return zlib.crc32(sampling_key.encode()) / 2**32 < self._saas_sample_rate

    def _settle(self) -> None:
        self.in_flight -= 1

    def _settle_own(self) -> None:
        with self._lock:
            self._own_in_flight -= 1

    def drop_abandoned(self) -> None:
        """Let go of what nobody waits for any more; for the thread that calls `run_once`."""
        for destination in self._destinations():
            destination.drop_abandoned()

    def run_once(self, timeout_s: float) -> None:
        """Drive delivery one turn; returns early when something happened or a fd is readable."""
        self._tally.report_if_due(self._loop.clock())
        self._loop.run_once(timeout_s)

    def register(self, fd: int) -> None:
        """Wake `run_once` when ``fd`` is readable; the caller reads it."""
        self._loop.register(fd)

    def start_thread(self) -> None:
        """Drive delivery from a daemon thread, until `kill`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._drive, name="delivery", daemon=True)
            self._thread.start()

    def _drive(self) -> None:
        while not self._loop.is_closed:
            self.run_once(_TURN_S)

    def statuses(self) -> list[DestinationStatus]:
        """For any thread."""
        return [destination.status() for destination in self._destinations()]

    def accepted(self) -> list[int]:
        """Envelopes that each destination has taken, in the order of `statuses`. Any thread."""
        return [destination.ledger.accepted for destination in self._destinations()]

    def flush(
        self,
        timeout: float,
        callback: Callable[[int, float], None] | None = None,
    ) -> None:
        """Wait until nothing is pending at any destination, at most ``timeout`` seconds in all.

        ``callback`` gets the number of pending envelopes and the timeout when it takes longer.
        """
        if self._loop.is_driven_by_this_thread():
            return  # called from within a turn: waiting for the turn to end would never end
        if self._saas is not None and not self._loop.is_closed:
            report = self._losses.take_report()
            if report is not None:
                self._saas.send(report, _ignore)
        start = time.monotonic()
        deadline = start + timeout
        while self._pending() and not self._loop.is_closed:
            now = time.monotonic()
            if now >= deadline:
                break
            if callback is not None and now - start >= _FLUSH_CALLBACK_AFTER_S:
                callback(self._pending(), timeout)
                callback = None
            self._loop.run_once(min(deadline - now, _FLUSH_CALLBACK_AFTER_S))
        self._tally.report()
        for destination in self._destinations():
            destination.ledger.report()

    def kill(self) -> None:
        """End at once: nothing more is sent, and what is in flight is never settled."""
        self._loop.close()

    def is_healthy(self) -> bool:
        """Whether every destination is being sent to freely."""
        return all(destination.is_healthy for destination in self._destinations())

    def record_lost_event(
        self,
        reason: str,
        data_category: str | None = None,
        item: sentry_sdk.envelope.Item | None = None,
        *,
        quantity: int = 1,
    ) -> None:
        """Count what the SDK lost; saas gets it as a client report at the next flush."""
        if item is not None:
            data_category, quantity = item.data_category, 1
        self._losses.add(reason, data_category or "default", quantity)

    def _pending(self) -> int:
        return sum(destination.pending for destination in self._destinations())

    def _destinations(self) -> list[Destination]:
        return [each for each in (self._upstream, self._saas) if each is not None]


def _has_statsd(envelope: Envelope) -> bool:
    # A plain loop: nearly all envelopes pass here, and a generator costs as much as a parse.
    for item in envelope.items:  # noqa: SIM110 - see above
        if item.type == "statsd":
            return True
    return False


def _ignore(_rejection: RejectedMessage | None) -> None:
    """What becomes of a client report is not reported in turn."""


def build_transport(
    options: CaptureOptions, open_posts: OpenPosts = HttpPosts
) -> MultiplexingTransport:
    """One delivery loop, a destination for each DSN, and the transport over them.

    Opens no connection yet.
    """
    loop = DeliveryLoop()

    def destination(own: DestinationOptions | None) -> Destination | None:
        return None if own is None else Destination(own, loop, open_posts=open_posts)

    return MultiplexingTransport(
        destination(options.upstream),
        destination(options.saas),
        loop,
        upstream_metrics_enabled=options.upstream_metrics_enabled,
        saas_sample_rate=options.saas_sample_rate,
    )
