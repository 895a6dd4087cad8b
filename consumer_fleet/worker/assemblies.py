"""Envelopes that are spread over messages: which of their messages have arrived, and what is next.

A *fragment* is a message with a piece of a blob. A *whole* is the message whose envelope is made
of blobs. They may come in any order, more than once, and from several partitions; their bytes are
on disk (``assembly_files.py``). This table only keeps the books. It does no I/O and has no clock:
time is that of Kafka's timestamps.

Every message that enters leaves exactly once: with a whole (``done``), or skipped with a reason
(``take_skipped``).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Final, NamedTuple, TypeAlias

#: Partition and offset.
Position: TypeAlias = tuple[int, int]

# Blobs that are over, so that a late duplicate of a chunk does not wait for a whole again.
_REMEMBERED_BLOBS: Final = 10_000

DUPLICATE: Final = "duplicate"
ORPHAN: Final = "orphan_chunk"
OUT_OF_RANGE: Final = "chunk_out_of_range"
MISSING: Final = "missing_chunks"


class ParkedMessage(NamedTuple):
    """A message on disk, and how many bytes it takes there."""

    position: Position
    size: int
    timestamp_ms: int


class Piece(NamedTuple):
    """The part of a stored message that is the content of a fragment."""

    position: Position
    start: int
    length: int


class Ready(NamedTuple):
    """A whole to deliver now: the pieces of each blob by its key, and how many blobs it is without.

    ``length`` is the number of bytes of all pieces.
    """

    position: Position
    pieces: dict[bytes, list[Piece]]
    missing: int
    length: int


@dataclass(slots=True)
class _Blob:
    number: int
    timestamp_ms: int
    fragments: dict[int, tuple[ParkedMessage, Piece]] = field(default_factory=dict)
    # Wholes that are made of it.
    wanted_by: set[Position] = field(default_factory=set)
    # A worker reads its pieces now: they must stay.
    in_use: int = 0


@dataclass(slots=True)
class _Whole:
    message: ParkedMessage
    number: int
    # The blobs that it is made of, and how many fragments of each there are.
    blobs: dict[bytes, int]
    # How many fragments of each blob have not arrived, where any has not.
    waits_for: dict[bytes, int]
    # Blobs that are over: it goes without them.
    gone: int = 0


class Assemblies:
    """See the module. ``max_bytes`` bounds what is on disk.

    Beyond the bound, complete wholes are delivered first, and nothing more should be read meanwhile
    (``is_full``). If there are none, the oldest incomplete one goes as it is.
    """

    def __init__(self, max_bytes: int, timeout_ms: int) -> None:
        self._max_bytes = max_bytes
        self._timeout_ms = timeout_ms
        self._numbers = count()
        self._blobs: dict[bytes, _Blob] = {}
        self._wholes: dict[Position, _Whole] = {}
        # Parts of the above, in order of arrival: blobs that no whole wants, wholes that wait.
        self._unclaimed: dict[bytes, _Blob] = {}
        self._waiting: dict[Position, _Whole] = {}
        self._ready: deque[Position] = deque()
        # Wholes that were given out, with what each has taken.
        self._given: dict[Position, Ready] = {}
        self._skipped: list[tuple[Position, str]] = []
        # Blobs that are over: whether they were delivered.
        self._over: OrderedDict[bytes, bool] = OrderedDict()
        #: Bytes on disk.
        self.size = 0

    def __len__(self) -> int:
        """The number of messages that have not left."""
        return sum(len(blob.fragments) for blob in self._blobs.values()) + len(self._wholes)

    @property
    def is_empty(self) -> bool:
        return not self._blobs and not self._wholes and not self._skipped

    @property
    def is_full(self) -> bool:
        """The disk's share is taken by wholes that can be delivered: do that before reading on."""
        return self.size > self._max_bytes and bool(self._ready or self._given)

    @property
    def incomplete(self) -> int:
        """Blobs and wholes that wait for other messages."""
        return len(self._waiting) + len(self._unclaimed)

    # -- what arrives ---------------------------------------------------------------------------

    def add_fragment(self, message: ParkedMessage, key: bytes, index: int, piece: Piece) -> None:
        """A piece of the blob ``key``. A later one replaces an earlier one with the same index."""
        was_delivered = self._over.get(key)
        if was_delivered is not None:
            self._skipped.append((message.position, DUPLICATE if was_delivered else ORPHAN))
            return
        blob = self._blobs.get(key)
        if blob is None:
            blob = self._blobs[key] = _Blob(next(self._numbers), message.timestamp_ms)
            self._unclaimed[key] = blob
        earlier = blob.fragments.get(index)
        if earlier is not None and (blob.in_use or earlier[0].position == message.position):
            if earlier[0].position != message.position:
                self._skipped.append((message.position, DUPLICATE))
            return
        blob.fragments[index] = message, piece
        self.size += message.size
        if earlier is not None:
            self.size -= earlier[0].size
            self._skipped.append((earlier[0].position, DUPLICATE))
        else:
            self._count_arrival(key, blob, index)
        self._make_room()

    def _count_arrival(self, key: bytes, blob: _Blob, index: int) -> None:
        for position in blob.wanted_by:
            whole = self._wholes[position]
            if index >= whole.blobs[key] or position not in self._waiting:
                continue
            whole.waits_for[key] -= 1
            if not whole.waits_for[key]:
                del whole.waits_for[key]
                if not whole.waits_for:
                    self._is_ready(position)

    def add_whole(self, message: ParkedMessage, blobs: Iterable[tuple[bytes, int]]) -> None:
        """A message whose envelope is made of blobs, of so many fragments each."""
        position = message.position
        if position in self._wholes:
            return
        wanted = dict(blobs)
        if any(self._over.get(key) for key in wanted):
            # Its envelope was delivered: no two have the same blob.
            self._skipped.append((position, DUPLICATE))
            return
        present = {key: number for key, number in wanted.items() if key not in self._over}
        whole = _Whole(message, next(self._numbers), present, {}, len(wanted) - len(present))
        self._wholes[position] = self._waiting[position] = whole
        self.size += message.size
        for key, fragments in present.items():
            blob = self._blobs.get(key)
            if blob is None:
                blob = self._blobs[key] = _Blob(whole.number, message.timestamp_ms)
            self._unclaimed.pop(key, None)
            blob.wanted_by.add(position)
            missing = fragments - sum(index < fragments for index in blob.fragments)
            if missing:
                whole.waits_for[key] = missing
        if not whole.waits_for:
            self._is_ready(position)
        self._make_room()

    # -- what leaves ----------------------------------------------------------------------------

    def expire(self, now_ms: int) -> None:
        """Wholes that have waited for too long go as they are; blobs without one are skipped.

        ``now_ms`` is the timestamp up to which all messages were seen. Looks at all of them: those
        of several partitions, or of a backlog, do not arrive in the order of their timestamps.
        """
        last_ms = now_ms - self._timeout_ms
        wholes = [whole.message for whole in self._waiting.values()]
        for message in wholes:
            if message.timestamp_ms <= last_ms and message.position in self._waiting:
                self._is_ready(message.position)
        for key in [key for key, blob in self._unclaimed.items() if blob.timestamp_ms <= last_ms]:
            self._drop(key)

    def finish_all(self) -> None:
        """Nothing more arrives: everything goes as it is."""
        for position in list(self._waiting):
            self._is_ready(position)
        for key in list(self._unclaimed):
            self._drop(key)

    def take_skipped(self) -> list[tuple[Position, str]]:
        """Messages that are left out, and why."""
        taken, self._skipped = self._skipped, []
        return taken

    def peek(self) -> Ready | None:
        """The next whole to deliver, if there is one."""
        if not self._ready:
            return None
        position = self._ready[0]
        whole = self._wholes[position]
        pieces: dict[bytes, list[Piece]] = {}
        for key, fragments in whole.blobs.items():
            if key not in whole.waits_for:
                found = self._blobs[key].fragments
                pieces[key] = [found[index][1] for index in range(fragments)]
        length = sum(piece.length for each in pieces.values() for piece in each)
        return Ready(position, pieces, whole.gone + len(whole.waits_for), length)

    def give(self) -> Ready:
        """Give out the whole that ``peek`` returns. Its pieces stay until it is ``done``."""
        ready = self.peek()
        assert ready is not None
        self._ready.popleft()
        self._given[ready.position] = ready
        for key in ready.pieces:
            self._blobs[key].in_use += 1
        return ready

    def done(self, position: Position) -> list[Position]:
        """A whole that was given out is settled. Returns the fragments that have left with it."""
        ready = self._given.pop(position)
        whole = self._wholes.pop(position)
        self.size -= whole.message.size
        released: list[Position] = []
        for key, fragments in whole.blobs.items():
            blob = self._blobs[key]
            blob.in_use -= key in ready.pieces
            blob.wanted_by.discard(position)
            if blob.wanted_by:
                continue
            if key not in ready.pieces:
                self._drop(key, MISSING)
                continue
            for index, (message, _) in self._forget(key, was_delivered=True).items():
                if index < fragments:
                    released.append(message.position)
                else:
                    self._skipped.append((message.position, OUT_OF_RANGE))
        self._make_room()
        return released

    def take_back(self, position: Position) -> None:
        """A whole that was given out was not settled: it is ready again."""
        for key in self._given.pop(position).pieces:
            self._blobs[key].in_use -= 1
        self._ready.append(position)

    def forget(self, partition: int, offset: int) -> list[Position]:
        """Forget a partition's messages from an offset on: they are read again, here or elsewhere.

        Returns those that were on disk. Take back those that were given out before; another's
        pieces may be among the returned ones.
        """

        def is_gone(position: Position) -> bool:
            return position[0] == partition and position[1] >= offset

        gone = [position for position in self._wholes if is_gone(position)]
        for position in gone:
            whole = self._wholes.pop(position)
            self._waiting.pop(position, None)
            self.size -= whole.message.size
            for key in whole.blobs:
                self._blobs[key].wanted_by.discard(position)
        self._ready = deque(position for position in self._ready if position in self._wholes)
        for key, blob in list(self._blobs.items()):
            lost = [n for n, (message, _) in blob.fragments.items() if is_gone(message.position)]
            for number in lost:
                message, _ = blob.fragments.pop(number)
                self.size -= message.size
                gone.append(message.position)
            self._look_again(key, blob, lost)
        gone += [position for position, _ in self._skipped if is_gone(position)]
        self._skipped = [each for each in self._skipped if not is_gone(each[0])]
        return gone

    def _look_again(self, key: bytes, blob: _Blob, lost: list[int]) -> None:
        """A blob has lost fragments, or a whole that wants it."""
        for position in blob.wanted_by - self._given.keys():
            whole = self._wholes[position]
            missing = sum(number < whole.blobs[key] for number in lost)
            if missing:
                whole.waits_for[key] = whole.waits_for.get(key, 0) + missing
                if position not in self._waiting:
                    self._ready.remove(position)
                    self._waiting[position] = whole
        if not blob.fragments and not blob.wanted_by:
            del self._blobs[key]
            self._unclaimed.pop(key, None)
        elif not blob.wanted_by:
            self._unclaimed[key] = blob

    def _is_ready(self, position: Position) -> None:
        del self._waiting[position]
        self._ready.append(position)

    def _make_room(self) -> None:
        while self.size > self._max_bytes and not self._ready and not self._given:
            oldest_whole = next(iter(self._waiting.items()), None)
            oldest_blob = next(iter(self._unclaimed.items()), None)
            if oldest_whole is not None and (
                oldest_blob is None or oldest_whole[1].number < oldest_blob[1].number
            ):
                self._is_ready(oldest_whole[0])
            elif oldest_blob is not None:
                self._drop(oldest_blob[0])
            else:
                return

    def _drop(self, key: bytes, reason: str = ORPHAN) -> None:
        dropped = self._forget(key, was_delivered=False)
        self._skipped += [(message.position, reason) for message, _ in dropped.values()]

    def _forget(self, key: bytes, *, was_delivered: bool) -> dict[int, tuple[ParkedMessage, Piece]]:
        fragments = self._blobs.pop(key).fragments
        self._unclaimed.pop(key, None)
        self.size -= sum(message.size for message, _ in fragments.values())
        self._over[key] = was_delivered
        if len(self._over) > _REMEMBERED_BLOBS:
            self._over.popitem(last=False)
        return fragments
