"""A destination of envelopes: its queue, its state and its counts."""

from __future__ import annotations

import math
import random as random_module
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from consumer_fleet import metrics
from consumer_fleet.capture.answers import OK, Answer, TroubleLog, Verdict, advice, describe, judge
from consumer_fleet.capture.counts import DestinationState, DestinationStatus, Incr, Ledger
from consumer_fleet.capture.delivery_loop import DeliveryLoop, Posts
from consumer_fleet.capture.envelope import (
    Envelope,
    choose_compressor,
    members_at,
    serialize_after,
)
from consumer_fleet.capture.gate import (
    EVERYTHING,
    Gate,
    Parcel,
    RateLimits,
    Recipient,
    Waiting,
    backoff_s,
    limits_of_answer,
    longest_limit_s,
    patience_of,
    take_probe,
)
from consumer_fleet.capture.held import Held, HeldKind
from consumer_fleet.capture.items import envelope_categories, is_limitable, limited_items
from consumer_fleet.capture.options import DestinationOptions
from consumer_fleet.capture.share import Share
from consumer_fleet.capture.socket_posts import open_posts
from consumer_fleet.errors import RejectedMessage

OpenPosts: TypeAlias = Callable[[DeliveryLoop, DestinationOptions, tuple[str, ...]], Posts]
# At most this often is a request's time measured.
_MEASURE_INTERVAL_S: Final = 0.05
_NOBODY: Final = object()
_ABANDONED: Final = RejectedMessage("abandoned", "nothing waits for it any more")
# Failures of one envelope, while others were accepted, after which it is set aside.
_FAILURES_TO_HOLD: Final = 3


class Destination:
    """Deliver each envelope until it is accepted or rejected, whatever that takes.

    A destination that is not ``required`` drops envelopes beyond its budget of bytes. Everything
    but `status` belongs to the thread that drives the loop.
    """

    def __init__(
        self,
        options: DestinationOptions,
        loop: DeliveryLoop,
        *,
        wall_clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random_module.random,
        incr: Incr = metrics.incr,
        open_posts: OpenPosts = open_posts,
    ) -> None:
        self.name, self.role = options.name, options.role
        self.dsn = dsn = options.dsn
        self.required, self.drop_items = options.required, options.drop_items
        self._holds, self._draining = options.holds and options.required, False
        self._share = Share.of(options, loop.clock)
        self._clock = clock = loop.clock
        self._wall_clock, self._random = wall_clock, random
        self._budget_bytes = None if options.required else options.best_effort_budget_bytes
        self._ledger = Ledger(options.name, incr, clock)
        self._secrets = tuple(key for key in (dsn.public_key, dsn.secret_key) if key)
        compressor = choose_compressor(options.compression, dsn.scheme)
        self._compress = compressor.compress
        self._gate, self._limits = Gate(clock, random), RateLimits(clock)
        self._trouble = TroubleLog(options.name, dsn.redacted, clock)
        self._reason = self._limit_answer = ""
        self._ready: deque[Parcel] = deque()
        self._waiting = Waiting()
        self._members, self._members_second = b"", -1
        # The parcel whose request is measured: None if it is the next one, ``_NOBODY`` if none is.
        # Few are, since that takes as long as a part of the request.
        self._measured: object = _NOBODY
        self._measured_since = 0.0
        self._measure_due = -math.inf if metrics.recorder.sends else math.inf
        loop.attach(self._pump)
        # After the pump: requests that a turn's pump has queued start in the same turn.
        self._posts = open_posts(loop, options, options.headers(compressor.encoding))

    def send(
        self, envelope: Envelope, recipient: Recipient, number: int, held: Held | None = None
    ) -> None:
        """Queue one envelope. Never blocks; the envelope is not changed.

        The recipient learns the end later, or at once if a destination that is not required has
        no room. ``held`` is its state if it was held before.
        """
        size_bytes, ledger = 0, self._ledger
        if self._budget_bytes is not None:
            size_bytes = sum(len(item.payload) + len(item.header) for item in envelope.items)
            if ledger.pending_bytes + size_bytes > self._budget_bytes:
                self._drop("over_budget")
                recipient.done(number, RejectedMessage("over_budget", f"{self.name} is full"))
                return
            ledger.pending_bytes += size_bytes
        ledger.pending += 1
        parcel = Parcel(envelope, recipient, number, size_bytes)
        if held is not None:
            parcel.own_failure = held.failure_at(self.name)
            if parcel.own_failure is not None:
                parcel.attempts = _FAILURES_TO_HOLD - 1
            if self.name in held.left:
                parcel.shrink(held.left[self.name])
        self._ready.append(parcel)

    def pause(self, reason: str, what_to_do: str, at_least_s: float) -> None:
        """Send nothing for that time, as if it had refused everything."""
        self._reason = reason
        if self._gate.refused(is_probe=False, at_least_s=at_least_s):
            self._ledger.count_pause("circle")
            self._trouble.paused("circle", reason, what_to_do)

    def drain(self, *, begins: bool) -> None:
        """From now on, or no more, give up what can't be sent at once of draining recipients."""
        self._draining = begins

    def _give_up_waiting(self) -> None:
        takes = self._waiting.take_if if self._gate.state == "open" else self._take_out
        for parcel in takes(lambda parcel: parcel.recipient.draining):
            self._forget(parcel)
            parcel.recipient.given_up(parcel.number)

    def drop_abandoned(self) -> None:
        """Drop envelopes that nothing waits for any more; one that is being sent, if it fails."""
        for parcel in self._take_out(lambda parcel: parcel.recipient.abandoned):
            self._finish(parcel, _ABANDONED)

    def _take_out(self, is_wanted: Callable[[Parcel], bool]) -> list[Parcel]:
        """Take those out that are not being sent."""
        taken = [parcel for parcel in self._ready if is_wanted(parcel)]
        if taken:
            self._ready = deque(parcel for parcel in self._ready if not is_wanted(parcel))
        return taken + self._waiting.take_if(is_wanted)

    def room(self) -> int:
        """How many more envelopes it may get. One that stands still gives back what it can."""
        share = self._share
        if share is None:
            return sys.maxsize
        room = share.size - self._ledger.pending
        if room > 0 or not share.is_still(self._ledger.requests.total + self._posts.idle):
            return room
        self._make_way()
        return max(share.size - self._ledger.pending, 1)

    def _make_way(self) -> None:
        """Give back all but the next probe: it waits in the parent, and others pass it."""
        if self._share is None:
            return
        parcels = self._take_out(lambda parcel: parcel.recipient.can_hold)
        if parcels and self._gate.needs_probe:
            self._ready.append(parcels.pop(0))
        for parcel in parcels:
            self._hold(parcel, "unavailable", self._reason or "no answer", 0.0)

    def keeps_back(self) -> list[Parcel]:
        """What waits because it, which shares the worker, takes nothing now; its last probe."""
        return self._gate.keeps_back(self._ready, self._waiting) if self._share else []

    @property
    def pending(self) -> int:
        """Envelopes that are queued, held back or being sent."""
        return self._ledger.pending

    @property
    def is_healthy(self) -> bool:
        """Whether it is being sent to freely."""
        return self._gate.state == "open"

    def status(self) -> DestinationStatus:
        """Any thread may call it: each number is right, though not all are of the same moment."""
        state: DestinationState = self._gate.state
        if state == "open" and self._waiting.next_due < math.inf and self._limits.active():
            state = "throttled"
        ledger, reason = self._ledger, "" if state == "open" else self._reason
        counts = (ledger.accepted, ledger.retried, ledger.dropped, ledger.pending)
        return DestinationStatus(self.name, state, *counts, reason, self.required)

    @property
    def ledger(self) -> Ledger:
        """All counts: for metrics at the end of a flush, and for tests."""
        return self._ledger

    def _pump(self) -> float:
        """Start all requests that may start; return when to be called again."""
        now = self._clock()
        self._ledger.report_if_due(now)
        self._trouble.remind()
        if now >= self._measure_due:
            self._measure_due, self._measured = math.inf, None
        if self._draining:
            self._give_up_waiting()
        waiting = self._waiting
        if waiting.next_due <= now:
            self._ready.extend(waiting.take_due(now))
        if self._ready:
            self._refresh_members()
        start_due = math.inf
        gate = self._gate
        while self._ready and self._posts.idle:
            if gate.state != "open":
                self._make_way()
                start_due = gate.next_start()
                if start_due > now:
                    break
                start_due = math.inf
            parcel = self._ready.popleft() if gate.state == "open" else take_probe(self._ready)
            if self._limits.is_any_set and (limit_end := self._limit_end(parcel)) > now:
                self._wait_for_limit(limit_end, parcel)
            else:
                self._start(parcel)
        if self._draining:
            self._give_up_waiting()
        return min(start_due, waiting.next_due)

    def _start(self, parcel: Parcel) -> None:
        body = self._compress(serialize_after(self._members, parcel.envelope))
        self._ledger.requests.total += 1
        parcel.is_probe = self._gate.state != "open" and self._gate.started(parcel)
        if self._measured is None:
            self._measured, self._measured_since = parcel, self._clock()
        self._posts.post(body, partial(self._on_answer, parcel))

    def _on_answer(self, parcel: Parcel, answer: Answer) -> None:
        is_probe = parcel.is_probe
        if parcel is self._measured:
            self._measured, now = _NOBODY, self._clock()
            self._measure_due = now + _MEASURE_INTERVAL_S
            tags = {"destination": self.name}
            metrics.distribution("capture.request_s", now - self._measured_since, tags=tags)
        if answer is OK:
            self._on_acceptance(parcel)
            return
        verdict = judge(answer.status, is_page=answer.is_page)
        limits: dict[str, float] = {}
        if verdict is Verdict.LIMITED or answer.rate_limits is not None:
            limits = limits_of_answer(
                answer.status, answer.rate_limits, answer.retry_after, self._wall_clock()
            )
            self._limits.update(limits)
            self._limit_answer = f"HTTP {answer.status}, rate limits {answer.rate_limits}"
            self._trouble.throttled(limits)
            self._ledger.count_throttled()
        if verdict is not Verdict.ACCEPTED:
            text = describe(answer, self._secrets)
            self._reason = f"HTTP {answer.status}: {text}" if answer.status else text
        if verdict is Verdict.LATER:
            self._on_failure(parcel, is_probe, answer)
        elif verdict is Verdict.REFUSED:
            self._on_refusal(parcel, is_probe, answer)
        elif verdict is Verdict.LIMITED:
            self._on_limit(parcel, limits, answer)
        elif verdict is Verdict.REJECTED:
            self._on_rejection(parcel, answer)
        else:
            self._on_acceptance(parcel)

    def _on_response(self, parcel: Parcel) -> None:
        """The server dealt with the request, whatever its answer."""
        if self._gate.answered(is_probe=parcel.is_probe):
            self._trouble.resumed()

    def _on_acceptance(self, parcel: Parcel) -> None:
        if parcel.is_probe or self._gate.failures_in_a_row:  # rarely: each call costs
            self._on_response(parcel)
        self._ledger.accepted_envelopes.total += 1
        self._ledger.pending -= 1  # not by `_forget`: it runs for each request
        self._ledger.pending_bytes -= parcel.size_bytes
        parcel.recipient.done(parcel.number, None)

    def _on_failure(self, parcel: Parcel, is_probe: bool, answer: Answer) -> None:
        if answer.is_ambiguous:
            self._ledger.count_ambiguous()
        patience_s = patience_of(answer.retry_after, self._wall_clock())
        if is_alone := self._fails_alone(parcel):
            self._gate.no_news(is_probe=is_probe)
        elif self._gate.failed(is_probe=is_probe, at_least_s=patience_s):
            self._trouble.backing_off(self._reason)
        self._retry(parcel, answer.status, patience_s, is_alone=is_alone)

    def _on_refusal(self, parcel: Parcel, is_probe: bool, answer: Answer) -> None:
        if is_alone := self._fails_alone(parcel):
            self._gate.no_news(is_probe=is_probe)
        elif (newly_paused := self._gate.refused(is_probe=is_probe)) or is_probe:
            # At each probe: an alert on the count's growth lasts as long as the pause.
            self._ledger.count_pause(answer.status)
            if newly_paused:
                text = describe(answer, self._secrets)
                self._trouble.paused(answer.status, text, advice(answer.status))
        # After a wait of its own: a firewall in between may refuse just this envelope, and then the
        # others go first.
        self._retry(parcel, answer.status, 0.0, is_alone=is_alone)

    def _on_limit(self, parcel: Parcel, limits: dict[str, float], answer: Answer) -> None:
        self._on_response(parcel)
        if EVERYTHING not in limits:
            left = limited_items(parcel.envelope, limits)
            # If no item counts against a named category, nothing is known to have been accepted:
            # better to send all of it twice than some of it never.
            if left:
                parcel.shrink_to(left)
        limit_end = self._limit_end(parcel)
        if limit_end == -math.inf:
            wait_s = max(limits.values(), default=longest_limit_s(answer.rate_limits) or 0.0)
            limit_end = self._clock() + wait_s
        if self._drops_abandoned(parcel):
            return
        self._ledger.count_retried(f"http_{answer.status}")
        wait_s = backoff_s(parcel.attempts, self._random)
        parcel.attempts += 1
        self._wait_for_limit(max(self._clock() + wait_s, limit_end), parcel)

    def _on_rejection(self, parcel: Parcel, answer: Answer) -> None:
        self._on_response(parcel)
        reason = f"http_{answer.status}"
        detail = f"{self.name}: {describe(answer, self._secrets)}"
        if self.required:
            self._ledger.count_rejected(answer.status)
        else:
            self._drop(reason)
        self._finish(parcel, RejectedMessage(reason, detail))

    def _retry(self, parcel: Parcel, status: int, at_least_s: float, *, is_alone: bool) -> None:
        if self._drops_abandoned(parcel):
            return
        self._ledger.count_retried(f"http_{status}" if status else "network")
        wait_s = max(backoff_s(parcel.attempts, self._random), at_least_s)
        parcel.attempts += 1
        is_closed = self._share is not None and self._gate.state != "open"
        if is_closed and not is_alone and parcel.recipient.can_hold:
            # Another one is the next probe: this one may be the only one that fails.
            self._hold(parcel, "unavailable", self._reason, at_least_s)
            return
        if is_alone and parcel.attempts >= _FAILURES_TO_HOLD:
            self._hold(parcel, "failing", self._reason, at_least_s)
            return
        self._waiting.put(max(self._clock() + wait_s, self._limit_end(parcel)), parcel)

    def _drops_abandoned(self, parcel: Parcel) -> bool:
        if parcel.recipient.abandoned:
            self._finish(parcel, _ABANDONED)
        return parcel.recipient.abandoned

    def _fails_alone(self, parcel: Parcel) -> bool:
        is_own = parcel.failed(self._reason, self._ledger.accepted)
        return is_own and self._holds and parcel.recipient.can_hold

    def _wait_for_limit(self, limit_end: float, parcel: Parcel) -> None:
        kind, wait_s = self._limits.judge_wait(limit_end, shares=self._share is not None)
        if self._holds and parcel.recipient.can_hold and kind is not None:
            self._hold(parcel, kind, self._limit_answer, wait_s)
        else:
            self._waiting.put(self._clock() + wait_s, parcel)

    def _hold(self, parcel: Parcel, kind: HeldKind, answer: str, wait_s: float) -> None:
        due_s = self._wall_clock() + wait_s if wait_s else 0.0
        left = {} if parcel.left is None else {self.name: parcel.left}
        self._forget(parcel)
        parcel.recipient.held(parcel.number, Held(kind, self.name, answer, due_s, left=left))

    def _limit_end(self, parcel: Parcel) -> float:
        sent = parcel.envelope
        return self._limits.end_for(envelope_categories(sent), limitable=is_limitable(sent))

    def _forget(self, parcel: Parcel) -> None:
        self._ledger.pending -= 1
        self._ledger.pending_bytes -= parcel.size_bytes

    def _finish(self, parcel: Parcel, rejection: RejectedMessage | None) -> None:
        self._forget(parcel)
        parcel.recipient.done(parcel.number, rejection)

    def _drop(self, reason: str) -> None:
        self._ledger.count_dropped(reason)
        self._trouble.dropped(reason)

    def _refresh_members(self) -> None:
        """Set ``dsn`` and ``sent_at`` of envelopes that are sent now; they change once a second."""
        second = int(self._wall_clock())
        if second != self._members_second:
            self._members = members_at(second, str(self.dsn), self.dsn.mark)
            self._members_second = second
