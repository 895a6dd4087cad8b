"""``consumer dlq replay``: dead letters through their consumers' pipelines again.

An unfiltered replay reads as the topic's own group and commits what is settled, so that nothing is
replayed twice and two replays can't run at the same time. A filtered one reads without a group,
because it could not commit past what it leaves out: repeated, it sends the same messages again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
from arroyo.types import Partition, Topic

from consumer_fleet.bootstrap.configure import configure
from consumer_fleet.bootstrap.option_checks import delivery_mode
from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.codec import Decode
from consumer_fleet.consumers import registry
from consumer_fleet.dlq.letters import (
    DeadLetterCounts,
    Letter,
    LetterFilter,
    LettersTopic,
    Selection,
)
from consumer_fleet.dlq.topic import (
    DeadLetterTopic,
    ReplayPosition,
    consumers_of,
    replay_position,
)
from consumer_fleet.errors import EXIT_OK, FleetError
from consumer_fleet.humanize import counted
from consumer_fleet.kafka.chunk import CHUNK_BYTES, CHUNK_MESSAGES, Chunk, Pair
from consumer_fleet.kafka.offset_spec import LATEST, OffsetSpec
from consumer_fleet.recording.reader import chunks_of
from consumer_fleet.replay.through import Through, ThroughReplay, remote_destinations
from consumer_fleet.replay.transform import DecodeByOrigin, load_transform
from consumer_fleet.run.sources import GroupSource, Length, LocalSource

# Letters to read before the run loop is given a turn.
_LETTERS_PER_TURN = 1000
# The outcome of a replay of nothing.
_NOTHING: Mapping[str, Any] = MappingProxyType(
    {"delivered": 0, "filtered": {}, "rejected": {}, "rejects_file": None, "interrupted": False,
     "complete": True}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeadLetterReplayRequest:
    """``chosen.since`` may go back to dead letters that were replayed before."""

    chosen: LetterFilter
    transform: str | None = None
    through: str | None = None
    rejects: Path | None = None
    yes: bool = False
    dry_run: bool = False
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """The dead letters to replay. ``within``: what was read of each partition, end excluded."""

    counts: DeadLetterCounts
    consumers: Mapping[str, str]
    within: Mapping[int, tuple[int, int]]


class DeadLetterReplay:
    """One ``consumer dlq replay``: plans, asks for ``--yes``, replays, prints the position."""

    def __init__(
        self, request: DeadLetterReplayRequest, topic: DeadLetterTopic, cluster: ClusterOptions
    ) -> None:
        self._topic = topic
        self._request = request
        self._options = cluster.options
        self._kafka = cluster.kafka

    def run(self) -> int:
        """Block until it has ended; returns the exit code. Raises FleetError, UsageError."""
        request = self._request
        if not request.dry_run:
            # Never a demonstration: its receiver keeps nothing, but the group would move.
            delivery_mode(self._options)
        if request.transform is not None:
            load_transform(request.transform)
        if request.through is not None:
            registry.get(request.through)
        before = replay_position(self._kafka, self._topic)
        if not request.dry_run:
            before.refuse_concurrent_replay()
        plan = self._plan(before)
        if not (request.as_json and request.dry_run):
            click.echo(self._described(plan, before), err=not request.dry_run)
        if request.dry_run or not plan.counts.total:
            if request.as_json:
                nothing = {} if request.dry_run else _NOTHING
                self._print_document(plan, {**nothing, "not_replayed": before.waiting})
            return EXIT_OK
        remote = remote_destinations(self._options)
        if remote and not request.yes:
            raise click.UsageError(
                f"sending {counted(plan.counts.total, 'message')} to {', '.join(remote)} requires "
                "confirmation: add --yes, or look first with --dry-run"
            )
        code = self._replay(plan, before)
        if not request.as_json:
            click.echo(self._position_afterwards())
        return code

    # -- the plan -------------------------------------------------------------------------------

    def _plan(self, before: ReplayPosition) -> ReplayPlan:
        request, chosen, counts = self._request, self._request.chosen, DeadLetterCounts()
        starts = before.next if chosen.since is None else before.starts
        start = chosen.since or OffsetSpec("offset", min(starts.values(), default=0))
        with LettersTopic(self._kafka, self._topic.name, start=start, end=chosen.end) as letters:
            within = {
                index: (max(span.start, starts.get(index, 0)), span.end)
                for index, span in letters.reader.ranges.items()
            }
            for letter in letters.letters():
                is_new = letter.record.offset >= within[letter.partition][0]
                if is_new and chosen.selection.takes(letter):
                    counts.add(letter)
        consumers = {}
        if request.through is None:
            consumers = consumers_of(counts.topics, self._topic.consumer, self._options)
        return ReplayPlan(counts, consumers, within)

    def _print_document(self, plan: ReplayPlan, more: Mapping[str, Any]) -> None:
        document = {
            "topic": self._topic.name,
            "group": self._topic.group,
            "dry_run": self._request.dry_run,
            "dead_letters": plan.counts.total,
            "reasons": plan.counts.as_document(),
            "consumers": self._consumers(plan),
            **more,
        }
        click.echo(json.dumps(document))

    def _consumers(self, plan: ReplayPlan) -> list[str]:
        named = self._request.through
        return sorted(set(plan.consumers.values())) if named is None else [named]

    def _described(self, plan: ReplayPlan, before: ReplayPosition) -> str:
        selection = self._request.chosen.selection
        source = f"{self._topic.name}{'' if selection.is_everything else f' ({selection})'}"
        if not plan.counts.total:
            return f"Nothing to replay in {source}. {before}."
        through = ", ".join(self._consumers(plan))
        verb = "Would replay" if self._request.dry_run else "To replay:"
        return (
            f"{verb} {plan.counts.described} of {source} through {through}:\n"
            f"  {plan.counts}\n"
            f"{before}."
        )

    # -- the replay -----------------------------------------------------------------------------

    def _replay(self, plan: ReplayPlan, before: ReplayPosition) -> int:
        request = self._request
        app = configure(self._options)
        consumers = self._consumers(plan)
        through = Through(
            self._topic.name,
            before.partitions,
            consumers[0] if len(consumers) == 1 else None,
            request.transform,
            request.rejects,
            is_quiet=request.as_json,
            assembles=any(registry.get(name).format.assembles for name in consumers),
        )
        with ExitStack() as stack:
            if request.chosen.is_everything:
                source: GroupSource | LocalSource = self._group_source(plan)
            else:
                source = self._filtered_source(plan, before.partitions, stack)
            replay = ThroughReplay(app, source, self._decode(plan), through)
            try:
                return replay.run()
            finally:
                if request.as_json:
                    self._print_document(plan, {**replay.outcome(), "not_replayed": self._left()})

    def _filtered_source(self, plan: ReplayPlan, partitions: int, stack: ExitStack) -> LocalSource:
        name = self._topic.name
        start = OffsetSpec("offset", min((span[0] for span in plan.within.values()), default=0))
        letters = stack.enter_context(
            LettersTopic(self._kafka, name, start=start, end=LATEST, within=plan.within)
        )
        chunks = chunks_of_letters(
            letters.letters_or_none(), Topic(name), self._request.chosen.selection
        )
        return LocalSource(name, partitions, chunks, Length(plan.counts.total))

    def _group_source(self, plan: ReplayPlan) -> GroupSource:
        topic = Topic(self._topic.name)
        return GroupSource(
            self._kafka,
            self._topic.name,
            self._topic.group,
            # Nothing is lost where the group's offset is gone: a person has purged it.
            "earliest",
            stop_at={Partition(topic, index): end for index, (_, end) in plan.within.items()},
            length=Length(plan.counts.total),
            is_replayed=lambda: self._has_replayed(plan),
        )

    def _has_replayed(self, plan: ReplayPlan) -> bool:
        """Whether the group's offsets are past all of the plan."""
        try:
            now = replay_position(self._kafka, self._topic).next
        except FleetError:
            return False
        return all(now.get(index, 0) >= end for index, (_, end) in plan.within.items())

    def _left(self) -> int | None:
        try:
            return replay_position(self._kafka, self._topic).waiting
        except FleetError:
            return None  # the error that ended the replay is reported

    def _decode(self, plan: ReplayPlan) -> Decode:
        if self._request.through is not None:
            return registry.get(self._request.through).decode
        return DecodeByOrigin(tuple(plan.consumers.items()))

    def _position_afterwards(self) -> str:
        try:
            position = str(replay_position(self._kafka, self._topic))
        except FleetError as error:
            # The outcome of the replay is printed, and is its exit code.
            position = f"The offsets of group {self._topic.group} are unknown: {error}"
        if self._request.chosen.is_everything:
            return position
        return f"{position}\nA filtered replay commits nothing: repeated, it sends the same again."


def chunks_of_letters(
    letters: Iterator[Letter | None], topic: Topic, selection: Selection
) -> Iterator[Chunk | None]:
    """Yield the chosen letters as chunks, and None from time to time if there are none."""
    held: list[Pair] = []
    size = read = 0
    for letter in letters:
        if letter is not None and selection.takes(letter):
            held.append((letter.partition, letter.record))
            size += letter.record.size
        read += 1
        full = len(held) >= CHUNK_MESSAGES or size >= CHUNK_BYTES
        if letter is None or full or read >= _LETTERS_PER_TURN:
            yield from chunks_of(topic, held) if held else (None,)
            held, size, read = [], 0, 0
    yield from chunks_of(topic, held)
