"""When a destination may be sent to, and what waits until then.

A breaker for outages, a pause for refusals, rate limits; and the parcels that they hold back.
"""

from __future__ import annotations

import heapq
import itertools
import math
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Final, Literal, Protocol, TypeAlias

from consumer_fleet.capture.envelope import Envelope, Item
from consumer_fleet.capture.held import Held, HeldKind, failure_kind
from consumer_fleet.capture.items import KNOWN_CATEGORIES
from consumer_fleet.capture.share import HasRoom
from consumer_fleet.errors import RejectedMessage

GateState: TypeAlias = Literal["open", "backing_off", "paused"]

_FAILURES_TO_BACK_OFF: Final = 5
_FIRST_BACKOFF_S: Final = 0.1
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_BACKOFF_S: Final = 30.0


def backoff_s(
    attempt: int, random: Callable[[], float], first_s: float = _FIRST_BACKOFF_S
) -> float:
    """Return the wait after failure ``attempt`` (from 0): doubling, capped, jittered by half.

    ``random`` returns a number from 0 to 1.
    """
    # The exponent is bounded too: 2 ** 2000 is more than a float can be.
    longest: float = min(first_s * 2 ** min(attempt, 20), _LONGEST_BACKOFF_S)
    return longest * (0.5 + 0.5 * random())


class Gate:
    """Open: send freely. Backing off or paused: one probe at a time, each after a longer wait.

    The destination reports how requests ended. Only probes lengthen the wait: the many requests
    that were under way when the trouble began all report the same trouble.
    """

    def __init__(self, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self.state: GateState = "open"
        self._clock = clock
        self._random = random
        self.failures_in_a_row = 0
        self._probes_failed = 0
        self._probe_due = -math.inf
        self._probe_is_out = False
        self._last_probe: Parcel | None = None

    def next_start(self) -> float:
        """When a request may start: -inf if now, inf if only after an answer."""
        if self.state == "open":
            return -math.inf
        return math.inf if self._probe_is_out else self._probe_due

    @property
    def needs_probe(self) -> bool:
        """Whether it is closed, and no probe is under way."""
        return self.state != "open" and not self._probe_is_out

    def started(self, parcel: Parcel | None = None) -> bool:
        """A request starts. Returns whether it is a probe; pass that on when it has ended."""
        self._probe_is_out, self._last_probe = self.state != "open", parcel
        return self._probe_is_out

    def keeps_back(self, ready: Iterable[Parcel], waiting: Waiting) -> list[Parcel]:
        """All of these parcels and the last probe, where it is closed; else none."""
        if self.state == "open":
            return []
        waits = (parcel for _, _, parcel in waiting._heap)
        return [*ready, *waits, *([self._last_probe] if self._last_probe else [])]

    def answered(self, *, is_probe: bool) -> bool:
        """The server dealt with a request. Returns whether that reopened the gate.

        Only a probe reopens it: other answers belong to requests from before the trouble.
        """
        self.failures_in_a_row = 0
        if not is_probe:
            return False
        self.state, self._probe_is_out, self._last_probe = "open", False, None
        return True

    def failed(self, *, is_probe: bool, at_least_s: float = 0.0) -> bool:
        """No answer, or one that means "later". Returns whether that closed the gate."""
        self.failures_in_a_row += 1
        if self.state != "open":
            if is_probe:
                self._schedule_probe(at_least_s)
            return False
        if self.failures_in_a_row < _FAILURES_TO_BACK_OFF:
            return False
        self._close("backing_off", at_least_s)
        return True

    def no_news(self, *, is_probe: bool) -> None:
        """A message failed as it did while others were accepted: the next one may probe at once."""
        if is_probe:
            self._probe_is_out, self._probe_due = False, -math.inf

    def refused(self, *, is_probe: bool, at_least_s: float = 0.0) -> bool:
        """The server refused our DSN or address. Returns whether that paused the destination."""
        if self.state == "paused":
            if is_probe:
                self._schedule_probe(0.0)
            return False
        self._close("paused", at_least_s)
        return True

    def _close(self, state: GateState, at_least_s: float) -> None:
        self.state = state
        self._probes_failed = -1
        self._schedule_probe(at_least_s)

    def _schedule_probe(self, at_least_s: float) -> None:
        self._probe_is_out = False
        self._probes_failed += 1
        first_s = _FIRST_PAUSE_S if self.state == "paused" else _FIRST_BACKOFF_S
        wait_s = backoff_s(self._probes_failed, self._random, first_s)
        self._probe_due = self._clock() + max(wait_s, at_least_s)


# The "category" of a limit without categories: it holds for everything.
EVERYTHING: Final = ""
DEFAULT_RETRY_AFTER_S: Final = 60.0
# A longer limit is taken for a mistake: the server is asked again after a day.
_LONGEST_LIMIT_S: Final = 86_400.0
# A longer Retry-After of a 5xx is cut to this.
_LONGEST_RETRY_AFTER_S: Final = 300.0
# An envelope is not set aside for a limit that ends this soon, or only to make room for others.
_SHORT_LIMIT_S: Final = 2.0
_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+")


def parse_rate_limits(header: str) -> dict[str, float]:
    """Parse ``X-Sentry-Rate-Limits`` into seconds per category; the longest where one is repeated.

    Reads ``seconds:cat;cat:scope:…, seconds:…``. Parts without a valid number are ignored, and so
    are unknown categories. A part without categories means EVERYTHING.
    """
    limits: dict[str, float] = {}
    for part in header.split(","):
        fields = part.split(":")
        seconds = _parse_seconds(fields[0])
        if seconds is None:
            continue
        names = [name.strip() for name in fields[1].split(";")] if len(fields) > 1 else []
        named = [name for name in names if name]
        for name in named or [EVERYTHING]:
            if name in KNOWN_CATEGORIES or name == EVERYTHING:
                limits[name] = max(limits.get(name, 0.0), seconds)
    return limits


def parse_retry_after(header: str, wall_time_s: float) -> float | None:
    """Parse ``Retry-After``, a number of seconds or an HTTP date; None if it is neither."""
    seconds = _parse_seconds(header)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(header.strip())
    except ValueError:
        return None
    return min(max(moment.timestamp() - wall_time_s, 0.0), _LONGEST_LIMIT_S)


def patience_of(retry_after: str | None, wall_time_s: float) -> float:
    """Return the seconds that a failure's ``Retry-After`` asks for, within bounds."""
    asked_s = None if retry_after is None else parse_retry_after(retry_after, wall_time_s)
    return min(asked_s or 0.0, _LONGEST_RETRY_AFTER_S)


def limits_of_answer(
    status: int,
    rate_limits: str | None,
    retry_after: str | None,
    wall_time_s: float,
) -> dict[str, float]:
    """Return the limits of one answer, in seconds per category. Any status may carry limits."""
    limits = parse_rate_limits(rate_limits) if rate_limits is not None else {}
    if status != 429 or longest_limit_s(rate_limits) is not None:
        return limits
    seconds = parse_retry_after(retry_after, wall_time_s) if retry_after is not None else None
    return {EVERYTHING: DEFAULT_RETRY_AFTER_S if seconds is None else seconds}


class RateLimits:
    """The limits in force, per category, by a monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends: dict[str, float] = {}

    def update(self, limits: Mapping[str, float]) -> None:
        """Add limits. A shorter one never shortens an earlier one."""
        now = self._clock()
        for category, seconds in limits.items():
            self._ends[category] = max(self._ends.get(category, -math.inf), now + seconds)

    def end_for(self, categories: Collection[str], *, limitable: bool = True) -> float:
        """Return when data of these categories may be sent; -inf if it may be sent now.

        ``limitable`` is False for data that even a limit on everything lets through.
        """
        if not self._ends:
            return -math.inf
        self._forget_ended()
        ends = [self._ends[name] for name in categories if name in self._ends]
        if limitable and EVERYTHING in self._ends:
            ends.append(self._ends[EVERYTHING])
        return max(ends, default=-math.inf)

    def judge_wait(self, end: float, *, shares: bool) -> tuple[HeldKind | None, float]:
        """Return how an envelope may be held until a limit ends, if at all, and for how long.

        A limit on everything is an outage: nothing passes, so that there is nothing to make room
        for, unless the worker is shared with other destinations.
        """
        wait_s = end - self._clock()
        everything_s = self.active().get(EVERYTHING, 0.0)
        if everything_s <= 0.0 and wait_s > _SHORT_LIMIT_S:
            return "limited", wait_s
        return "unavailable" if shares else None, min(wait_s, everything_s or wait_s)

    @property
    def is_any_set(self) -> bool:
        """Whether there may be a limit; False means that `end_for` need not be asked."""
        return bool(self._ends)

    def active(self) -> dict[str, float]:
        """Return the seconds left per limited category."""
        self._forget_ended()
        now = self._clock()
        return {category: end - now for category, end in self._ends.items()}

    def _forget_ended(self) -> None:
        now = self._clock()
        if any(end <= now for end in self._ends.values()):
            self._ends = {name: end for name, end in self._ends.items() if end > now}


def longest_limit_s(header: str | None) -> float | None:
    """Return the longest limit in ``X-Sentry-Rate-Limits``, of any category, if there is one."""
    if header is None:
        return None
    limits = [_parse_seconds(part.split(":")[0]) for part in header.split(",")]
    return max((seconds for seconds in limits if seconds is not None), default=None)


def _parse_seconds(text: str) -> float | None:
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    return min(float(text), _LONGEST_LIMIT_S)


class Recipient(Protocol):
    """The owner of envelopes, which it knows by number. The loop's driver calls it."""

    @property
    def abandoned(self) -> bool:
        """Whether nothing waits for the envelopes any more: they need not be sent."""

    @property
    def draining(self) -> bool:
        """Whether only what can be sent at once is wanted: it is about to be abandoned."""

    @property
    def can_hold(self) -> bool:
        """Whether it takes back what can't be sent for a while, so that others pass."""

    def held(self, number: int, held: Held) -> None:
        """Instead of ``done``: the envelope is limited or refused alone."""

    def given_up(self, number: int) -> None:
        """Instead of ``done``, while ``draining``: it can't be sent now."""

    def done(self, number: int, rejection: RejectedMessage | None) -> None:
        """The envelope was accepted, or is rejected for good. Called exactly once."""


class Parcel:
    """An envelope on its way. A partial 429 shrinks ``envelope`` to the items not yet accepted:
    ``left`` are their positions.
    """

    __slots__ = (
        "accepted_before",
        "attempts",
        "envelope",
        "failure",
        "is_probe",
        "left",
        "number",
        "own_failure",
        "recipient",
        "size_bytes",
    )

    def __init__(
        self, envelope: Envelope, recipient: Recipient, number: int, size_bytes: int
    ) -> None:
        self.envelope = envelope
        self.recipient = recipient
        self.number = number
        self.size_bytes = size_bytes
        self.attempts = 0
        self.is_probe = False
        self.left: Sequence[int] | None = None
        # The kind of its last failure, and the envelopes that the destination had accepted then.
        self.failure: str | None = None
        self.accepted_before = 0
        # The kind of failure that is its own: others were accepted between two of them. "" if it
        # was held, and only another destination knows.
        self.own_failure: str | None = None

    def failed(self, answer: str, accepted: int) -> bool:
        """Note a failure. Returns whether it is the envelope's own, and says nothing of others.

        ``accepted`` counts the envelopes that the destination has accepted.
        """
        failure = failure_kind(answer)
        if failure == self.failure and accepted > self.accepted_before:
            self.own_failure = failure
        self.failure, self.accepted_before = failure, accepted
        return self.own_failure in ("", failure)

    def shrink_to(self, items: Collection[Item]) -> None:
        """Leave only these of its items."""
        kept = {id(item) for item in items}
        self.shrink([at for at, item in enumerate(self.envelope.items) if id(item) in kept])

    def shrink(self, positions: Sequence[int]) -> None:
        """Leave only the items at these positions."""
        items = self.envelope.items
        self.left = [(self.left or range(len(items)))[position] for position in positions]
        self.envelope = self.envelope._replace(items=tuple(items[each] for each in positions))


def take_probe(ready: deque[Parcel]) -> Parcel:
    """Take the newest that has not failed yet: where some fail alone, it may be another one."""
    parcel = next((each for each in reversed(ready) if not each.attempts), ready[0])
    ready.remove(parcel)
    return parcel


class Waiting:
    """Parcels that wait for a backoff or a limit, by when it ends."""

    def __init__(self) -> None:
        # The number breaks ties.
        self._heap: list[tuple[float, int, Parcel]] = []
        self._numbers = itertools.count()
        #: When the first of them ends; inf if there is none.
        self.next_due = math.inf

    def put(self, due: float, parcel: Parcel) -> None:
        heapq.heappush(self._heap, (due, next(self._numbers), parcel))
        self.next_due = self._heap[0][0]

    def take_due(self, now: float) -> list[Parcel]:
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[2])
        self._note_next()
        return due

    def take_if(self, is_wanted: Callable[[Parcel], bool]) -> list[Parcel]:
        """Take those out, wherever they are."""
        taken = [parcel for _, _, parcel in self._heap if is_wanted(parcel)]
        if taken:
            self._heap = [entry for entry in self._heap if not is_wanted(entry[2])]
            heapq.heapify(self._heap)
            self._note_next()
        return taken

    def _note_next(self) -> None:
        self.next_due = self._heap[0][0] if self._heap else math.inf


def room_for(destinations: Sequence[HasRoom], window: int) -> Callable[[int], int]:
    """Return a function: how many more envelopes may be captured, by how many are under way.

    Where destinations share the worker, each has a window of its own, and the fullest decides.
    """
    if all(each.room() == sys.maxsize for each in destinations):
        return lambda under_way: window - under_way
    return lambda _under_way: min(each.room() for each in destinations)
