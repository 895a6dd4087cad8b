"""Messages that their destination limits or refuses alone, and that others have passed.

A worker gives such a message back (``Held``). Its offset stays open, so the commit stays at it, but
it takes no budget and no worker. It goes to a worker again, as a task of its own, when its limit
ends or after a wait that grows. Where one worker serves many destinations, a message whose own
takes nothing (``unavailable``) is held, too, and tried again until the destination is well.

Any other becomes a dead letter when others have passed it for longer than
``hold_at_most_s``, or when there is no room for more, provided that its destination is alive: one
that has accepted nothing in that time is down, and what it holds up waits.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from typing import Final

import structlog
from arroyo.types import Partition

from consumer_fleet.capture.held import Held, HeldKind
from consumer_fleet.kafka.chunk import Chunk, DeadLetter, Record
from consumer_fleet.metrics import incr
from consumer_fleet.worker.held_entry import Alive, Entry, Kept
from consumer_fleet.worker.spool import Spool
from consumer_fleet.worker.work import PoolShare, Work

log = structlog.get_logger(__name__)

# About as many as a commit's metadata can name, if they lie far apart.
_MAX_MESSAGES: Final = 1000
_MAX_BYTES: Final = 256 * 1024 * 1024
# Tasks at a time: the others are for new messages.
_MAX_TASKS: Final = 100
_TASK_BYTES: Final = 16 * 1024 * 1024
_LETTERS_PER_TURN: Final = 50
_LETTERS_WAITING: Final = 200
_LOOK_INTERVAL_S: Final = 0.1
_LOG_INTERVAL_S: Final = 10.0
_FIRST_WAIT_S: Final = 5.0
_LONGEST_WAIT_S: Final = 120.0
# At the end of the source: within about three seconds.
_LAST_ATTEMPTS: Final = 5
_LAST_WAIT_S: Final = 0.1
# Of messages that wait for an unavailable destination, at all partitions together.
_MAX_UNAVAILABLE: Final = 20_000
_LONGEST_OUTAGE_WAIT_S: Final = 8.0
# A drain gave it up: the partition stays, so it is tried again at once.
_AFTER_DRAIN_S: Final = 0.5


class Holding:
    """See the module. It outlives assignments, as the pool does.

    Without dead letters (``keeps_dead_letters`` is False) a full one takes nothing more.
    """

    def __init__(
        self,
        pool: PoolShare,
        *,
        hold_at_most_s: float,
        keeps_dead_letters: bool,
    ) -> None:
        self._pool = pool
        self._open = open_offsets = pool.open_offsets
        self._hold_at_most_s = hold_at_most_s
        self._keeps_dead_letters = keeps_dead_letters
        self._spool = Spool(2 * _MAX_BYTES)
        # In the order in which they were held first.
        self._entries: dict[tuple[Partition, int], Entry] = {}
        self._is_in_order = True
        self._by_work: dict[int, Entry] = {}
        # Those that may become dead letters, and those that wait for their destination.
        self._alone = Kept()
        self._unavailable = Kept()
        self._alive = Alive()
        self._look_due = 0.0
        self._paused = False
        self._ending = False
        self._letters: deque[Entry] = deque()
        self._logged: dict[tuple[str, str], tuple[float, int]] = {}
        #: Called at the end of a message whose envelope has parts on disk, which end with it.
        self.on_delivered: Callable[[Partition, int], None] = lambda _partition, _offset: None
        self.on_rejected: Callable[[Partition, int, DeadLetter], None] = lambda *_: None
        pool.on_held = self.hold
        open_offsets.on_forget.append(self._forget)
        open_offsets.describe = self._describe

    # -- for the steps ---------------------------------------------------------------------------

    def hold(self, work: Work, index: int, held: Held) -> None:
        """Called by the pool: a worker gives a message back."""
        now = time.monotonic()
        record = work.chunk.records[index]
        if not work.settle(index):
            return
        entry = self._by_work.pop(id(work), None)
        if entry is not None:
            self._kept(entry).add(entry, -1)
            if "unavailable" in (entry.held.kind, held.kind):
                # The time of an outage does not count: the message has waited alone from now on.
                key = (entry.partition, entry.offset)
                self._open.add(*key)
                entry.since = now - self._open.hold(*key)
                self._entries[key] = self._entries.pop(key)
            entry.held, entry.work, entry.state = held, None, "waiting"
            entry.attempts += 1
            self._kept(entry).add(entry)
            entry.due = self._due(entry, now)
            return
        partition = work.chunk.partition
        if held.kind == "unavailable":
            self._open.add(partition, record.offset)
        since = now - self._open.hold(partition, record.offset)
        entry = Entry(partition, record.offset, self._spool.put(record), held, since, now)
        entry.pieces, entry.timestamp_ms = work.pieces, record.timestamp_ms
        entry.due = self._due(entry, now)
        newest = next(reversed(self._entries.values()), entry)
        self._is_in_order = self._is_in_order and newest.since <= since
        self._entries[partition, record.offset] = entry
        self._kept(entry).add(entry)
        incr("consumer.held_messages", tags={"kind": held.kind})
        self._log_held(entry)

    def poll(self) -> None:
        """Take what workers have settled, give them what is due, choose dead letters."""
        now = time.monotonic()
        self._alive.note_if_due(self._pool, now)
        if self._entries or self._open.full:
            self._open.full = self._full_partitions()
        if not self._entries:
            return
        self._collect()
        if self._paused or (now < self._look_due and not self._is_over()):
            return
        self._look_due = now + _LOOK_INTERVAL_S
        self._choose_dead_letters(now)
        self._give_out(now)

    def take_letters(self) -> Iterator[tuple[Entry, DeadLetter]]:
        """The dead letters to store now; ``stored`` ends each."""
        for _ in range(min(len(self._letters), _LETTERS_PER_TURN)):
            entry = self._letters.popleft()
            if self._is_known(entry):
                yield entry, entry.letter or self._letter(entry)

    def stored(self, entry: Entry) -> None:
        """Its dead letter is stored: the commit may pass it."""
        if self._is_known(entry):
            self._remove(entry)

    def has(self, partition: Partition, offset: int) -> bool:
        """Whether the message is held."""
        return (partition, offset) in self._entries

    @property
    def is_empty(self) -> bool:
        return not self._entries

    @property
    def is_full(self) -> bool:
        """Whether new messages must wait: no room, or dead letters that don't leave fast enough."""
        return self._is_over() or len(self._letters) > _LETTERS_WAITING

    @property
    def is_busy(self) -> bool:
        """Whether workers have any of it that is still being sent."""
        return any(
            entry.work is not None and not entry.work.is_drained for entry in self._by_work.values()
        )

    def counts(self) -> Counter[HeldKind]:
        """Held messages by kind."""
        return Counter(entry.held.kind for entry in self._entries.values())

    @property
    def oldest(self) -> Entry | None:
        """The message that has been held for the longest."""
        return next(iter(self._by_age()), None)

    def by_partition(self) -> dict[Partition, list[Entry]]:
        """The held messages of each partition; the commit stays at the lowest offset of them."""
        found: dict[Partition, list[Entry]] = {}
        for entry in self._entries.values():
            found.setdefault(entry.partition, []).append(entry)
        return found

    # -- turns of a run --------------------------------------------------------------------------

    def pause(self) -> None:
        """The step ends: start nothing more."""
        self._paused = True

    def resume(self) -> None:
        """Another step begins: dead letters that were on their way are stored again."""
        self._paused = False
        self._letters.clear()
        for entry in self._entries.values():
            if entry.state == "leaving":
                self._letters.append(entry)

    def finish(self) -> None:
        """The source is at its end: nothing more will pass what is held."""
        if not self._ending and self._entries:
            self._ending = True
            self._look_due = 0.0

    # -- entries ---------------------------------------------------------------------------------

    def _by_age(self) -> Collection[Entry]:
        """All, the longest held first: what processes before have held comes in at any time."""
        if not self._is_in_order:
            self._entries = dict(sorted(self._entries.items(), key=lambda item: item[1].since))
            self._is_in_order = True
        return self._entries.values()

    def _is_known(self, entry: Entry) -> bool:
        return self._entries.get((entry.partition, entry.offset)) is entry

    def _due(self, entry: Entry, now: float) -> float:
        limit_end = now + max(0.0, entry.held.due_s - time.time()) if entry.held.due_s else now
        if entry.held.kind == "limited":
            return limit_end
        wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(entry.attempts - 1, 10))
        if entry.held.kind == "unavailable":
            wait_s = min(_LONGEST_OUTAGE_WAIT_S, wait_s / 10)
        return max(limit_end, now + wait_s)

    def _collect(self) -> None:
        for key, entry in list(self._by_work.items()):
            work = entry.work
            if work is None or not work.is_drained:
                continue
            del self._by_work[key]
            entry.work = None
            advance = work.advance()
            if advance is None:
                entry.state, entry.due = "waiting", time.monotonic() + _AFTER_DRAIN_S
            elif advance.dead_letters:
                self._leave(entry, advance.dead_letters[0])
            else:
                if entry.held.kind != "unavailable":
                    log.info(
                        "held_message_settled", position=entry.position, attempts=entry.attempts
                    )
                self._remove(entry)
                if entry.pieces is not None:
                    self.on_delivered(entry.partition, entry.offset)

    def _remove(self, entry: Entry) -> None:
        del self._entries[entry.partition, entry.offset]
        if entry.state != "leaving":
            self._free(entry)
        self._spool.drop(entry.stored)
        self._open.settle(entry.partition, entry.offset)

    def _free(self, entry: Entry) -> None:
        self._kept(entry).add(entry, -1)

    def _kept(self, entry: Entry) -> Kept:
        return self._unavailable if entry.held.kind == "unavailable" else self._alone

    def _full_partitions(self) -> frozenset[Partition]:
        """Partitions with unavailable messages, once there are too many, until half are left."""
        kept, part = self._unavailable, 2 if self._open.full else 1
        is_over = kept.counts.total() > _MAX_UNAVAILABLE / part or kept.bytes > _MAX_BYTES / part
        return frozenset(+kept.counts) if is_over else frozenset()

    def _forget(self, partition: Partition, offset: int) -> None:
        """The partition has another owner, or is read again from the offset on."""
        gone = [e for (p, o), e in self._entries.items() if p == partition and o >= offset]
        works = [entry.work for entry in gone if entry.work is not None]
        for entry in gone:
            self._by_work.pop(id(entry.work), None)
            self._remove(entry)
        if works:
            self._pool.abandon(works)

    def _give_out(self, now: float) -> None:
        size = sum(entry.size for entry in self._by_work.values())
        for entry in self._entries.values():
            if len(self._by_work) >= _MAX_TASKS or not self._pool.has_room:
                return
            if entry.state != "waiting" or entry.due > now:
                continue
            if entry.held.kind == "unavailable" and entry.held.destination in self._alive.down:
                continue
            if self._by_work and size + entry.size > _TASK_BYTES:
                return
            size += entry.size
            record = self._spool.get(entry.stored)
            work = Work(Chunk(entry.partition, (record,), entry.size), entry.pieces)
            work.resume(0, entry.held)
            entry.work, entry.state = work, "out"
            self._by_work[id(work)] = entry
            self._pool.submit(work)

    # -- dead letters ----------------------------------------------------------------------------

    def _is_over(self) -> bool:
        most = max(self._alone.counts.values(), default=0)
        return self._alone.bytes > _MAX_BYTES or most > _MAX_MESSAGES

    def _choose_dead_letters(self, now: float) -> None:
        if not self._keeps_dead_letters:
            return
        is_any_over = self._is_over()
        for entry in self._by_age():
            if not (is_any_over or self._ending or now - entry.since >= self._hold_at_most_s):
                return  # the others are younger
            if entry.state != "waiting" or entry.held.kind == "unavailable":
                continue
            if not self._is_alive(entry.held.destination, now):
                entry.last_attempts = entry.next_attempt = 0
                continue
            kept = self._alone
            is_over = kept.bytes > _MAX_BYTES or kept.counts[entry.partition] > _MAX_MESSAGES
            if is_over or self._has_waited_enough(entry, now):
                self._pool.outcomes.count_rejected(f"held_{entry.held.kind}")
                self._leave(entry, None)
                is_any_over = self._is_over()

    def _is_alive(self, destination: str, now: float) -> bool:
        return now - self._alive.at.get(destination, -1e9) <= self._hold_at_most_s

    def _has_waited_enough(self, entry: Entry, now: float) -> bool:
        is_overdue = now - entry.since >= self._hold_at_most_s
        if not (is_overdue or self._ending):
            return False
        # At the end of the source, a limit that ends in time is waited for.
        if entry.held.kind == "limited":
            return is_overdue or entry.due > entry.since + self._hold_at_most_s
        if entry.next_attempt == entry.attempts:
            return False
        # One that failed gets another attempt, since an outage may have ended in between; at the
        # end of the source several soon, since a destination that fails now and then fails no
        # message this often.
        if entry.last_attempts >= (1 if is_overdue else _LAST_ATTEMPTS):
            return True
        entry.due = now + _LAST_WAIT_S * (2.0**entry.last_attempts - 1)
        entry.last_attempts += 1
        entry.next_attempt = entry.attempts
        return False

    def _letter(self, entry: Entry) -> DeadLetter:
        held = entry.held
        record: Record = self._spool.get(entry.stored)
        due_ms = round(held.due_s * 1000) if held.due_s else None
        return DeadLetter(record, f"held_{held.kind}", f"{held.destination}: {held.answer}", due_ms)

    def _leave(self, entry: Entry, letter: DeadLetter | None) -> None:
        """Its dead letter is made later, of what is stored, unless it was rejected."""
        self._free(entry)
        entry.state, entry.letter = "leaving", letter
        self._letters.append(entry)
        if entry.pieces is not None:
            self.on_rejected(entry.partition, entry.offset, letter or self._letter(entry))

    # -- for people ------------------------------------------------------------------------------

    def _describe(self, partition: Partition, offset: int) -> str:
        entry = self._entries.get((partition, offset))
        if entry is None:
            return ""
        return f"{entry.held.kind} {entry.held.destination} {entry.held.answer}"

    def _log_held(self, entry: Entry) -> None:
        """Each failing message; of others, which may be many, one line per ten seconds."""
        held, now = entry.held, time.monotonic()
        logged_at, unlogged = self._logged.get((held.kind, held.destination), (-1e9, 0))
        if held.kind != "failing" and now - logged_at < _LOG_INTERVAL_S:
            self._logged[held.kind, held.destination] = (logged_at, unlogged + 1)
            return
        self._logged[held.kind, held.destination] = (now, 0)
        log.warning(
            "message_held",
            position=entry.position,
            kind=held.kind,
            destination=held.destination,
            answer=held.answer,
            next_attempt_s=round(entry.due - now),
            others_since_the_last_line=unlogged,
        )
