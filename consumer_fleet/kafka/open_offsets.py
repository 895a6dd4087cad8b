"""Offsets that a partition's settled prefix has passed although they are not settled themselves.

A message that is set aside, because its destination limits or refuses it alone, does not keep the
others from being settled; nor does one that is given up at a drain. The commit stays at the oldest
such offset, and the metadata of that commit names the others, so that a restart does not send again
what has passed them.

The metadata is a few words::

    held=20:2,3,1 since=1790000000:2,40:1 why=… skipped=circle:15,too_old:3 topic-id=…

With 10 committed: everything below 20 is settled except, from 10 on, 2 offsets, after 3 settled
ones another 1, and so on. The first 2 of them have been open since that second, the next 1 since 40
seconds after that. ``skipped`` counts the messages that were left out since the partition was
assigned: nothing else on the cluster tells of them. Metadata belongs to the very commit: who
commits without it, as ``consumer offsets`` does, ends what it says.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, repeat
from math import ceil
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

from arroyo.types import Partition

from consumer_fleet.kafka.chunk import Chunk

# The broker's default for offset.metadata.max.bytes is 4,096; the other words need a few of them.
_METADATA_BYTES: Final = 3300
_SINCE_BYTES: Final = 300
_SKIPPED_BYTES: Final = 100
_WHY_LENGTH: Final = 200
_WHY_BYTES: Final = 300
# Offsets that have been open for nearly as long share a time, the latest of theirs.
_NEARLY_S: Final = 10
# More than any metadata of ours can name, however it was damaged.
_MAX_OPEN: Final = 1_000_000
_HELD: Final = re.compile(r"(?:^| )held=(\d{1,19}):(\d{1,19}(?:,\d{1,19})*)(?: |$)")
_SINCE: Final = re.compile(r"(?:^| )since=(-?\d{1,12}:\d{1,7}(?:,-?\d{1,12}:\d{1,7})*)(?: |$)")
_WHY: Final = re.compile(r"(?:^| )why=([^ ]+)")
_SKIPPED: Final = re.compile(r"(?:^| )skipped=([^ :,]+:\d{1,19}(?:,[^ :,]+:\d{1,19})*)(?: |$)")
_TOPIC_ID: Final = re.compile(r"(?:^| )topic-id=([^ ]+)")


class CommitMetadata(NamedTuple):
    """The words in a commit's metadata. ``high`` is 0 where it names no open offsets; ``why`` says
    what the oldest of them waits for, and ``since`` is when they became open, by the wall clock;
    ``skipped`` counts messages by reason.
    """

    topic_id: str = ""
    high: int = 0
    open: frozenset[int] = frozenset()
    why: str = ""
    since: Mapping[int, float] = MappingProxyType({})
    skipped: Mapping[str, int] = MappingProxyType({})

    @classmethod
    def read(cls, text: str | None, committed: int) -> CommitMetadata:
        """Read what a commit says. Words that are not ours, or damaged, are ignored."""
        text = text or ""
        found = _TOPIC_ID.search(text)
        nothing_held = cls(found[1] if found else "", skipped=_skipped_in(text))
        held = _HELD.search(text)
        if held is None:
            return nothing_held
        high, position = int(held[1]), committed
        runs = [int(length) for length in held[2].split(",")]
        if committed + sum(runs) > high or 0 in runs or sum(runs[::2]) > _MAX_OPEN:
            return nothing_held
        offsets: list[int] = []
        for number, length in enumerate(runs):
            if number % 2 == 0:
                offsets.extend(range(position, position + length))
            position += length
        why, since = _WHY.search(text), _SINCE.search(text)
        return nothing_held._replace(
            high=high,
            open=frozenset(offsets),
            why=unquote(why[1]) if why else "",
            since=dict(zip(offsets, _times(since[1]), strict=False)) if since else {},
        )


#: Of a commit without metadata.
NOTHING_HELD: Final = CommitMetadata()


class OpenOffsets:
    """The open offsets of each partition. It lives in the run loop's thread.

    Those that an earlier process has left (``inherit``) are read again; those that this one sets
    aside (``add``) are not. Those that it gives up (``leave``) are read again by the next owner, or
    here, once ``resume`` is called. Each of ``on_forget`` is called when the offsets from one on
    are not this process's business any more: they will be read again, here or elsewhere.
    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self.on_forget: list[Callable[[Partition, int], None]] = []
        #: Says, for a person, why a message was set aside; it goes into the commit's metadata.
        self.describe: Callable[[Partition, int], str] = lambda _partition, _offset: ""
        #: Partitions in which so much is set aside that no more of them is read for now.
        self.full: frozenset[Partition] = frozenset()
        self._aside: dict[Partition, set[int]] = {}
        self._inherited: dict[Partition, set[int]] = {}
        self._left: dict[Partition, set[int]] = {}
        # When they became open, of those that were set aside by `hold` and those that were taken
        # over or given up. The others, whose time does not count, have been open since now.
        self._since: dict[Partition, dict[int, float]] = {}
        # Below these offsets, only the inherited ones are not settled.
        self._settled_below: dict[Partition, int] = {}
        # The settled prefix, and what is settled only once it has passed an offset.
        self._passed: dict[Partition, int] = {}
        self._behind: dict[Partition, dict[int, list[tuple[Partition, int]]]] = {}
        self._skipped: dict[Partition, Counter[str]] = {}
        self._tables: tuple[dict[Partition, Any], ...] = (
            *(self._aside, self._inherited, self._left, self._since, self._settled_below),
            *(self._skipped, self._passed),
        )
        self._changed: set[Partition] = set()
        self._metadata_bytes = _METADATA_BYTES

    def add(self, partition: Partition, offset: int) -> None:
        """A message is set aside: it is not settled, and the others may pass it."""
        self._aside.setdefault(partition, set()).add(offset)
        self._inherited.get(partition, set()).discard(offset)
        self._since.get(partition, {}).pop(offset, None)

    def hold(self, partition: Partition, offset: int) -> float:
        """Set a message aside like ``add``. Returns for how many seconds it has been open, in this
        process and in those before.
        """
        now = self._wall_clock()
        since = min(now, self._since.get(partition, {}).get(offset, now))
        self.add(partition, offset)
        self._since.setdefault(partition, {})[offset] = since
        return now - since

    def settle(self, partition: Partition, offset: int) -> None:
        """A message that was set aside is settled."""
        aside = self._aside.get(partition)
        if aside is not None and offset in aside:
            aside.discard(offset)
            self._since.get(partition, {}).pop(offset, None)
            self._changed.add(partition)

    def settle_behind(
        self, partition: Partition, offset: int, others: list[tuple[Partition, int]]
    ) -> None:
        """Messages that were set aside are settled together with another one.

        But no commit says so before one that says it of the other: a restart in between would read
        that one again, alone.
        """
        self._behind.setdefault(partition, {})[offset] = others
        self._settle_passed(partition)

    def _settle_passed(self, partition: Partition) -> None:
        behind, passed = self._behind[partition], self._passed.get(partition, 0)
        for offset in [each for each in behind if each < passed]:
            for other in behind.pop(offset):
                self.settle(*other)
        if not behind:
            del self._behind[partition]

    def skipped(self, partition: Partition, reason: str, messages: int) -> None:
        """Messages are left out: the next commit says so."""
        self._skipped.setdefault(partition, Counter())[reason] += messages

    def leave(self, partition: Partition, offsets: Iterable[int]) -> None:
        """Messages are given up at a drain although others have passed them. Call before the
        commit that passes them.
        """
        left, since = self._left.setdefault(partition, set()), self._since.setdefault(partition, {})
        for offset in offsets:
            left.add(offset)
            since.setdefault(offset, self._wall_clock())

    def take_changed(self) -> Sequence[Partition]:
        """Partitions whose commit may have moved since the last call."""
        if not self._changed:
            return ()
        changed, self._changed = list(self._changed), set()
        return changed

    # -- what an earlier process has left --------------------------------------------------------

    def inherit(self, partition: Partition, left: CommitMetadata) -> None:
        """Take over what a commit names as open."""
        self._inherited[partition] = set(left.open)
        self._since[partition] = dict(left.since)
        self._settled_below[partition] = left.high

    def unread(self, chunk: Chunk) -> Chunk | None:
        """The chunk without the messages that were settled before; None if none is left."""
        settled_below = self._settled_below.get(chunk.partition)
        if settled_below is None or chunk.offset_of(0) >= settled_below:
            return chunk
        inherited = self._inherited[chunk.partition]
        records = [
            record
            for record in chunk.records
            if record.offset >= settled_below or record.offset in inherited
        ]
        if not records:
            return None
        return Chunk(chunk.partition, tuple(records), sum(record.size for record in records))

    def passed(self, partition: Partition, offset: int) -> None:
        """The settled prefix has reached the offset: what was inherited below it is settled, set
        aside again, or exists no more.
        """
        self._passed[partition] = offset
        if partition in self._behind:
            self._settle_passed(partition)
        self.drop_inherited(partition, 0, offset)

    def drop_inherited(self, partition: Partition, first: int, offset: int) -> None:
        """Nothing waits any more for what was inherited from ``first`` on, below the offset."""
        inherited = self._inherited.get(partition)
        if inherited is None:
            return
        if gone := [each for each in inherited if first <= each < offset]:
            inherited.difference_update(gone)
            for each in set(gone).difference(self._left.get(partition, ())):
                self._since.get(partition, {}).pop(each, None)
            self._changed.add(partition)
        if not inherited and offset >= self._settled_below[partition]:
            del self._inherited[partition], self._settled_below[partition]

    def cut(self, partition: Partition, offset: int) -> None:
        """The log restarts at the offset: what an earlier process left past it is void."""
        if partition in self._inherited:
            below = min(offset, self._settled_below[partition])
            self._settled_below[partition] = below
            self._inherited[partition] = {o for o in self._inherited[partition] if o < below}

    def resume(self, partition: Partition, settled: int) -> int:
        """Where to read from again: the oldest offset that is inherited or was given up, or else
        the settled prefix.
        """
        if left := self._left.pop(partition, None):
            self._inherited.setdefault(partition, set()).update(left)
            self._settled_below[partition] = settled
        return min(self._inherited.get(partition) or (settled,))

    # -- commits ---------------------------------------------------------------------------------

    def commit_of(self, partition: Partition, settled: int, topic_id: str) -> tuple[int, str]:
        """The offset to commit, and its metadata, where the prefix is settled up to an offset."""
        words = [f"topic-id={topic_id}"] if topic_id else []
        if skipped := _skipped_words(self._skipped.get(partition, {})):
            words.insert(0, f"skipped={skipped}")
        offsets = sorted(each for each in self._all_open(partition) if each < settled)
        if not offsets:
            return settled, " ".join(words)
        runs, high = _runs(offsets, settled, self._metadata_bytes)
        if why := quote(self.describe(partition, offsets[0])[:_WHY_LENGTH])[:_WHY_BYTES]:
            words.insert(0, f"why={why}")
        if runs:
            since, now = self._since.get(partition, {}), self._wall_clock()
            times = [since.get(each, now) for each in offsets if each < high]
            words[:0] = [f"held={high}:{runs}", f"since={_segments(times, _SINCE_BYTES)}"]
        return offsets[0], " ".join(words)

    def metadata_refused(self) -> None:
        """The broker allows less metadata: name fewer offsets, at worst none."""
        self._metadata_bytes //= 2

    def _all_open(self, partition: Partition) -> set[int]:
        tables = (self._aside, self._inherited, self._left)
        return set().union(*(table.get(partition, ()) for table in tables))

    # -- partitions that move --------------------------------------------------------------------

    def forget_from(self, partition: Partition, offset: int) -> None:
        """What was set aside or given up at or past the offset will be read again."""
        if partition in self._passed:
            self._passed[partition] = min(offset, self._passed[partition])
        for behind in self._behind.values():
            for others in behind.values():
                others[:] = [each for each in others if each[0] != partition or each[1] < offset]
        if left := self._left.get(partition):
            left.difference_update([each for each in left if each >= offset])
        aside = self._aside.get(partition)
        if aside:
            aside.difference_update([each for each in aside if each >= offset])
            for listener in self.on_forget:
                listener(partition, offset)
        since = self._since.get(partition, {})
        for each in [each for each in since if each >= offset]:
            del since[each]

    def forget(self, partitions: Iterable[Partition]) -> None:
        """The partitions are not this member's any more, or begin again."""
        for partition in partitions:
            self.forget_from(partition, 0)
            # Another owner reads the others' whole again, which keeps nothing here from moving on.
            for others in self._behind.pop(partition, {}).values():
                for other in others:
                    self.settle(*other)
            for table in self._tables:
                table.pop(partition, None)
            self._changed.discard(partition)

    def forget_all(self) -> None:
        self.forget(set().union(*self._tables))


def _skipped_words(counts: Mapping[str, int]) -> str:
    """The most frequent reasons that have room."""
    text = ""
    for reason, messages in sorted(counts.items(), key=lambda each: -each[1]):
        longer = f"{text},{quote(reason)}:{messages}" if text else f"{quote(reason)}:{messages}"
        if len(longer) <= _SKIPPED_BYTES:
            text = longer
    return text


def _skipped_in(text: str) -> Mapping[str, int]:
    found = _SKIPPED.search(text)
    pairs = (part.split(":") for part in found[1].split(",")) if found else ()
    return MappingProxyType({unquote(reason): int(messages) for reason, messages in pairs})


def _runs(offsets: Sequence[int], settled: int, limit: int) -> tuple[str, int]:
    """The lengths of open and settled runs by turns, and the offset up to which they are complete:
    where not all of them have room, what lies past the last one counts as not settled.
    """
    text: list[str] = []
    size, high = 0, settled
    begin = before = position = offsets[0]
    for offset in [*offsets[1:], None]:
        position += 1
        if offset == position:
            continue
        # The settled run before an open one goes with it.
        part = str(position - begin) if not text else f"{begin - before},{position - begin}"
        size += len(part) + 1
        if size > limit:
            high = begin
            break
        text.append(part)
        before = position
        if offset is not None:
            begin = position = offset
    return ",".join(text), high


def _segments(times: Sequence[float], limit: int) -> str:
    """Write times as segments: each a time, after the one before it, and how many have it."""
    nearly_s = _NEARLY_S
    while True:
        parts: list[str] = []
        before = 0
        for latest, count in _alike(times, nearly_s):
            parts.append(f"{latest - before}:{count}")
            before = latest
        text = ",".join(parts)
        if len(text) <= limit or len(parts) == 1:
            return text
        nearly_s *= 2


def _alike(times: Sequence[float], nearly_s: float) -> Iterator[tuple[int, int]]:
    """Neighbours whose times differ by no more than that: the latest of them, and their number."""
    earliest = latest = times[0]
    count = 0
    for each in times:
        if max(latest, each) - min(earliest, each) > nearly_s:
            yield ceil(latest), count
            earliest = latest = each
            count = 0
        earliest, latest, count = min(earliest, each), max(latest, each), count + 1
    yield ceil(latest), count


def _times(segments: str) -> Iterator[float]:
    """Read what ``_segments`` has written."""
    pairs = [part.split(":") for part in segments.split(",")]
    moments = accumulate(int(difference) for difference, _ in pairs)
    counts = (int(count) for _, count in pairs)
    return chain.from_iterable(map(repeat, map(float, moments), counts))
