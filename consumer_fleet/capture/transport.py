"""The transport of the pipeline and of the SDK: every envelope to the upstream, then to saas."""

from __future__ import annotations

import math
import select
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple

import sentry_sdk.envelope
import sentry_sdk.transport
import structlog

from consumer_fleet import metrics
from consumer_fleet.capture.counts import DestinationStatus, Incr, PeriodicCounts
from consumer_fleet.capture.delivery import CaptureRecipient, Delivery
from consumer_fleet.capture.delivery_loop import DeliveryLoop, OnReady
from consumer_fleet.capture.destination import Destination, OpenPosts
from consumer_fleet.capture.envelope import Envelope, InternalEnvelope, parse
from consumer_fleet.capture.held import Held
from consumer_fleet.capture.items import without_items
from consumer_fleet.capture.options import CaptureOptions, DestinationOptions
from consumer_fleet.capture.own_events import LostEvents, OwnEventRecipient, is_current_event_safe
from consumer_fleet.capture.routes import Route, distinct, project_routes, route_to
from consumer_fleet.capture.socket_posts import open_posts

log = structlog.get_logger(__name__)

# Own events can't be read again from Kafka, and nothing waits for them. While no destination takes
# them, memory holds this many; later ones are dropped and counted.
_OWN_EVENTS_MAX: Final = 1000
_TURN_S: Final = 1.0
_FLUSH_CALLBACK_AFTER_S: Final = 0.1


class _OwnEvent(NamedTuple):
    """An own event, or a client report, on its way to the driver."""

    envelope: Envelope
    to_upstream: bool
    to_saas: bool


class MultiplexingTransport(sentry_sdk.transport.Transport):
    """Send captured envelopes to two destinations, which may be their project's, and report when
    they are delivered.

    Drive it either by calling `run_once` in a loop (a worker) or by `start_thread` (a process that
    sends nothing but its own events).
    """

    def __init__(
        self,
        upstream: Destination | None,
        saas: Destination | None,
        loop: DeliveryLoop,
        *,
        saas_sample_rate: float,
        routes: Mapping[int, Route] | None = None,
        incr: Incr = metrics.incr,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(options)
        self._route = route_to(upstream, saas)
        self._routes = routes
        self.destinations = distinct((self._route, *(routes or {}).values()))
        self._upstream = upstream
        self._saas = saas
        # By far the most frequent case: nothing needs to be kept per envelope.
        self._is_simple = saas is None and upstream is not None and upstream.required and not routes
        self._loop = loop
        self._saas_sample_rate = saas_sample_rate
        self._takes_own_events = True
        self._incr = incr
        self._counts = PeriodicCounts(incr, loop.clock)
        self._to_upstream = self._counts.count("internal.captured.events.upstream")
        self._to_saas = self._counts.count("internal.captured.events.relay")
        self._lost = LostEvents(incr)
        # Own events come from any thread; the driver takes them from here.
        self._inbox: deque[_OwnEvent] = deque()
        self._own = OwnEventRecipient()
        self._capturing = threading.local()
        self._thread: threading.Thread | None = None
        loop.attach(self._take_own)

    def capture(
        self,
        envelope: Envelope,
        recipient: CaptureRecipient,
        number: int,
        *,
        sampling_key: str,
        skip: Collection[str] = (),
        held: Held | None = None,
    ) -> None:
        """Take an envelope from the pipeline. Never blocks; for the thread that calls `run_once`.

        ``skip`` are the roles of destinations that need not get it: they accepted it before a
        worker died, or before another destination held it; ``held`` is its state then. The same
        ``sampling_key`` gets the same decision about the saas sample rate at each delivery.
        """
        if self._is_simple and not skip:
            assert self._upstream is not None
            self._to_upstream.total += 1
            envelope = _taken_by(self._upstream.drop_items, envelope)
            if envelope.items:
                self._upstream.send(envelope, recipient, number, held)
            else:
                self._count_filtered(self._upstream)
                recipient.dropped(number)
            return
        to_saas = self._is_sampled(sampling_key)
        if to_saas and isinstance(envelope, InternalEnvelope):
            to_saas = False
            self._counts.add("internal.uncaptured.events.relay", {"reason": "internal_project"})
        self._capture_anything(envelope, recipient, number, to_saas=to_saas, skip=skip, held=held)

    def capture_envelope(self, envelope: sentry_sdk.envelope.Envelope) -> None:
        """Take an own event from the SDK: any thread, no receipt, best effort."""
        if not self._takes_own_events:
            return
        if getattr(self._capturing, "is_active", False):
            self._lose("recursion", envelope)
            return
        self._capturing.is_active = True
        try:
            self._enqueue_own(envelope)
        except Exception:
            # The SDK would raise it in the code that logged something: it ends here, in the log.
            log.exception("own_event_failed")
            self._lose("internal_sdk_error", envelope)
        finally:
            self._capturing.is_active = False

    def _lose(self, reason: str, envelope: sentry_sdk.envelope.Envelope) -> None:
        for item in envelope.items:
            self._lost.add_item(reason, item)

    def _enqueue_own(self, envelope: sentry_sdk.envelope.Envelope) -> None:
        is_full = len(self._inbox) + self._own.in_flight >= _OWN_EVENTS_MAX
        if is_full or self._loop.is_closed:
            self._lose("queue_overflow", envelope)
            return
        frames = parse(envelope.serialize())
        is_sampled = self._saas is not None and self._is_sampled(frames.event_id or "")
        # Decided here: it depends on the stack and the scope of the thread that captures.
        is_safe = not is_sampled or is_current_event_safe()
        if not is_safe:
            self._incr("internal.uncaptured.events.relay", tags={"reason": "unsafe"})
        self._inbox.append(_OwnEvent(frames, True, is_sampled and is_safe))
        self._loop.wake()

    def _take_own(self) -> float:
        """The loop's pump: capture the own events of all threads."""
        if not self._inbox:
            return math.inf
        self._capturing.is_active = True
        try:
            while self._inbox:
                # Taken out afterwards: a flush in another thread counts what is here or sent.
                self._capture_own(self._inbox[0])
                self._inbox.popleft()
        finally:
            self._capturing.is_active = False
        return -math.inf  # the destinations' pumps have run before: another turn starts requests

    def _capture_own(self, event: _OwnEvent) -> None:
        if event.to_upstream:
            is_transaction = any(item.type == "transaction" for item in event.envelope.items)
            kind = "transactions" if is_transaction else "envelopes"
            self._counts.add(f"internal.captured.events.{kind}")
        skip = () if event.to_upstream else ("upstream",)
        self._own.in_flight += 1
        try:
            self._capture_anything(event.envelope, self._own, 0, to_saas=event.to_saas, skip=skip)
        except Exception:
            log.exception("own_event_failed")
            self._own.in_flight -= 1
            self._lost.add("internal_sdk_error", "error")

    def _capture_anything(
        self,
        envelope: Envelope,
        recipient: CaptureRecipient,
        number: int,
        *,
        to_saas: bool,
        skip: Collection[str] = (),
        held: Held | None = None,
    ) -> None:
        """Send the envelope to the upstream, then to saas; a failure of one never stops the other.

        The upstream comes first because its loss would go unnoticed the longest.
        """
        route = self.route_of(envelope.project_id)
        delivery = Delivery(recipient, number, route.destinations, held)
        failures: list[Exception] = []
        for position, destination in enumerate(route.destinations):
            if destination.role in skip:
                continue
            if destination.role == "upstream":
                self._to_upstream.total += 1
            elif to_saas:
                self._to_saas.total += 1
            else:
                continue
            # Of the envelope as it came: what one destination does not take, the other may.
            copy = _taken_by(route.dropped[position], envelope)
            self._send(destination, copy, delivery, position, failures, held)
        if failures:
            raise failures[0]
        delivery.close_one()

    def route_of(self, project_id: int | None) -> Route:
        """Where a project's envelopes go."""
        if project_id is None or self._routes is None:
            return self._route
        return self._routes.get(project_id, self._route)

    def _send(
        self,
        destination: Destination,
        envelope: Envelope,
        delivery: Delivery,
        position: int,
        failures: list[Exception],
        held: Held | None,
    ) -> None:
        delivery.asked(is_dropped=not envelope.items)
        if not envelope.items:
            self._count_filtered(destination)
            return
        if destination.required:
            delivery.expect()
        try:
            destination.send(envelope, delivery, position, held)
        except Exception as error:  # a bug in one must not cost the other its data
            log.exception("destination_failed", destination=destination.name)
            if destination.required:
                failures.append(error)
            else:
                tags = {"destination": destination.name, "reason": "internal_error"}
                self._incr("capture.dropped", tags=tags)

    def _count_filtered(self, destination: Destination) -> None:
        self._counts.add("capture.filtered", {"destination": destination.name})

    def _is_sampled(self, sampling_key: str) -> bool:
        if self._saas_sample_rate >= 1.0:
            return True
        return zlib.crc32(sampling_key.encode()) / 2**32 < self._saas_sample_rate

    def change(self, saas_sample_rate: float, takes_own_events: bool) -> None:
        """Change what may change while it runs. Any thread."""
        self._saas_sample_rate = saas_sample_rate
        self._takes_own_events = takes_own_events

    def drain(self, *, begins: bool) -> None:
        """From now on, or no more, give up what can't be sent at once of draining recipients."""
        for destination in self.destinations:
            destination.drain(begins=begins)

    def drop_abandoned(self) -> None:
        """Drop envelopes that nothing waits for any more; for the thread that calls `run_once`."""
        for destination in self.destinations:
            destination.drop_abandoned()

    def run_once(self, timeout_s: float) -> None:
        """Drive delivery one turn; returns early when something happened or a fd is readable."""
        self._counts.report_if_due(self._loop.clock())
        self._loop.run_once(timeout_s)

    def register(self, fd: int, on_readable: OnReady) -> None:
        """Have `run_once` call ``on_readable``, which reads, when ``fd`` is readable."""
        self._loop.watch(fd, select.EPOLLIN, on_readable)

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
        return [destination.status() for destination in self.destinations]

    def accepted(self) -> list[int]:
        """Count each destination's accepted envelopes, in the order of `statuses`. Any thread."""
        return [destination.ledger.accepted for destination in self.destinations]

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
                self._inbox.append(_OwnEvent(report, False, True))
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
        for destination in self.destinations:
            destination.ledger.report()

    def flush_own(self, timeout: float) -> None:
        """Wait until every destination has the own events, at most ``timeout`` seconds in all."""
        deadline = time.monotonic() + timeout
        while self._has_own and not self._loop.is_closed:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._loop.run_once(min(left, _FLUSH_CALLBACK_AFTER_S))

    @property
    def _has_own(self) -> bool:
        if self._inbox or self._own.in_flight:
            return True
        # Nothing waits for one that is not required, so it does not say which are still there.
        return any(each.pending for each in self.destinations if not each.required)

    def kill(self) -> None:
        """End at once: nothing more is sent, and what is in flight is never settled."""
        self._loop.close()

    def is_healthy(self) -> bool:
        """Whether every destination is being sent to freely."""
        return all(destination.is_healthy for destination in self.destinations)

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
            self._lost.add_item(reason, item)
            return
        self._lost.add(reason, data_category or "default", quantity)

    def _pending(self) -> int:
        return len(self._inbox) + sum(each.pending for each in self.destinations)


def _taken_by(dropped: frozenset[str], envelope: Envelope) -> Envelope:
    """The envelope itself, or a copy without the items of these types."""
    # A plain loop: nearly all envelopes pass here, and a generator costs as much as a parse.
    for item in envelope.items:
        if item.type in dropped:
            return without_items(envelope, dropped)
    return envelope


def build_transport(
    options: CaptureOptions, open_posts: OpenPosts = open_posts
) -> MultiplexingTransport:
    """One delivery loop, a destination for each role and DSN, and the transport over them.

    Opens no connection yet. ``open_posts`` replaces the real requests, for tests.
    """
    loop = DeliveryLoop()
    made: dict[str, Destination] = {}

    def make(own: DestinationOptions) -> Destination:
        if own.name not in made:
            made[own.name] = Destination(own, loop, open_posts=open_posts)
        return made[own.name]

    return MultiplexingTransport(
        None if options.upstream is None else make(options.upstream),
        None if options.saas is None else make(options.saas),
        loop,
        saas_sample_rate=options.saas_sample_rate,
        routes=project_routes(options, make),
    )
