"""The transport of the pipeline and of the SDK: every envelope to the upstream, then to saas."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final, Protocol

import sentry_sdk.envelope
import sentry_sdk.transport
import structlog

from consumer_fleet import metrics
from consumer_fleet.capture.counts import DestinationStatus, Incr, PeriodicCounts
from consumer_fleet.capture.delivery_loop import DeliveryLoop
from consumer_fleet.capture.destination import Destination, OpenPosts
from consumer_fleet.capture.envelope import Envelope, parse
from consumer_fleet.capture.options import CaptureOptions, DestinationOptions
from consumer_fleet.capture.own_events import LostEvents, is_current_event_safe
from consumer_fleet.capture.socket_posts import open_posts
from consumer_fleet.errors import RejectedMessage

log = structlog.get_logger(__name__)

# Own events can't be read again from Kafka, and nothing waits for them. While no destination takes
# them, memory holds this many; later ones are dropped and counted.
_OWN_EVENTS_MAX: Final = 1000
_TURN_S: Final = 1.0
_FLUSH_CALLBACK_AFTER_S: Final = 0.1


class Receipt(Protocol):
    """How the pipeline learns of an envelope's delivery. Called by the loop's driver."""

    @property
    def abandoned(self) -> bool:
        """Whether nothing waits for the envelope any more: it need not be sent."""

    def accepted(self, destination: str) -> None:
        """One destination accepted the envelope: at most once per destination, at any time.

        Best-effort destinations may do so after `settled`.
        """

    def settled(self, rejection: RejectedMessage | None) -> None:
        """Every required destination is done: exactly once. None means delivered."""


class Delivery:
    """A captured envelope: settles its receipt once the required destinations are done."""

    # One for all: it is held for a few instructions, and own events are rare.
    _lock = threading.Lock()

    def __init__(self, receipt: Receipt | None, on_settled: Callable[[], None]) -> None:
        self._receipt = receipt
        self._on_settled = on_settled
        self._rejection: RejectedMessage | None = None
        # Capturing itself counts as one, so that an answer that comes before all destinations
        # have been asked does not settle anything.
        self._open = 1

    def is_abandoned(self) -> bool:
        """Own events have no receipt and are never given up."""
        return self._receipt is not None and self._receipt.abandoned

    def expect(self) -> None:
        """A required destination is about to get the envelope."""
        with self._lock:
            self._open += 1

    def done(self, destination: str, required: bool, rejection: RejectedMessage | None) -> None:
        """A destination is done with the envelope."""
        if rejection is None and self._receipt is not None:
            self._receipt.accepted(destination)
        if not required:
            return
        if self._rejection is None:
            self._rejection = rejection
        self._close_one()

    def all_asked(self) -> None:
        """Every destination that is to get the envelope has it."""
        self._close_one()

    def _close_one(self) -> None:
        with self._lock:
            self._open -= 1
            is_settled = self._open == 0
        if is_settled:
            self._on_settled()
            if self._receipt is not None:
                self._receipt.settled(self._rejection)


class MultiplexingTransport(sentry_sdk.transport.Transport):
    """Send captured envelopes to two destinations and report when they are delivered.

    Drive it either by calling `run_once` in a loop (a worker) or by `start_thread` (a process that
    sends nothing but its own events).
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
        self._counts = PeriodicCounts(incr, loop.clock)
        self._to_upstream = self._counts.count("internal.captured.events.upstream")
        self._to_saas = self._counts.count("internal.captured.events.relay")
        self._lost = LostEvents(incr)
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
        """Take an envelope from the pipeline. Never blocks; for the thread that calls `run_once`.

        ``skip`` names destinations that accepted the envelope before a worker died. The same
        ``sampling_key`` gets the same decision about the saas sample rate at each delivery.
        """
        self.in_flight += 1
        delivery = Delivery(receipt, self._settle)
        try:
            self._capture_anything(envelope, delivery, sampling_key=sampling_key, skip=skip)
        except BaseException:
            self.in_flight -= 1  # it is never settled: the caller gets the error
            raise

    def capture_envelope(self, envelope: sentry_sdk.envelope.Envelope) -> None:
        """Take an own event from the SDK: any thread, no receipt, best effort."""
        if getattr(self._capturing, "is_active", False):
            self._lost.add("recursion", "error")
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
            self._lost.add("queue_overflow", "error")
            return
        try:
            self._send_own(envelope)
        except Exception:
            # The SDK would raise it in the code that logged something: it ends here, in the log.
            log.exception("own_event_failed")
            self._settle_own()
            self._lost.add("internal_sdk_error", "error")

    def _send_own(self, envelope: sentry_sdk.envelope.Envelope) -> None:
        frames = parse(envelope.serialize())
        is_transaction = any(item.type == "transaction" for item in frames.items)
        kind = "transactions" if is_transaction else "envelopes"
        self._counts.count(f"internal.captured.events.{kind}").add()
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
        """Send the envelope to the upstream, then to saas; a failure of one never stops the other.

        The upstream comes first because its loss would go unnoticed the longest.
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
                # The envelope as it came, with the items that were left out for the upstream.
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
            self._counts.count("capture.filtered", {"destination": destination.name}).add()
            return
        if destination.required:
            delivery.expect()
        on_done = partial(delivery.done, destination.name, destination.required)
        try:
            destination.send(envelope, on_done, delivery.is_abandoned)
        except Exception as error:  # a bug in one must not cost the other its data
            log.exception("destination_failed", destination=destination.name)
            if destination.required:
                failures.append(error)
            else:
                tags = {"destination": destination.name, "reason": "internal_error"}
                self._incr("capture.dropped", tags=tags)

    def _for_upstream(self, envelope: Envelope) -> Envelope:
        """Return the envelope itself, or a copy without its statsd items.

        Items are told by their own type: the SDK's data categories no longer know statsd.
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
        """Drop envelopes that nothing waits for any more; for the thread that calls `run_once`."""
        for destination in self._destinations():
            destination.drop_abandoned()

    def run_once(self, timeout_s: float) -> None:
        """Drive delivery one turn; returns early when something happened or a fd is readable."""
        self._counts.report_if_due(self._loop.clock())
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
        """Return the state and counts of each destination. Any thread."""
        return [destination.status() for destination in self._destinations()]

    def accepted(self) -> list[int]:
        """Count each destination's accepted envelopes, in the order of `statuses`. Any thread."""
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
            return  # within a turn, which can't end while it is waited for
        if self._saas is not None and not self._loop.is_closed:
            report = self._lost.take_report()
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
        self._counts.report()
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
        """Count a loss in the SDK; saas gets it as a client report at the next flush."""
        if item is not None:
            data_category, quantity = item.data_category, 1
        self._lost.add(reason, data_category or "default", quantity)

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
    """Report nothing about a client report."""


def build_transport(
    options: CaptureOptions, open_posts: OpenPosts = open_posts
) -> MultiplexingTransport:
    """One delivery loop, a destination for each DSN, and the transport over them.

    Opens no connection yet. ``open_posts`` replaces the real requests, for tests.
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
