"""Dead letters back through their consumers' pipelines.

An unfiltered replay reads as the topic's own group and commits what is settled, so that nothing is
replayed twice and two replays can't run at a time. A filtered one reads without a group: it could
not commit past what it leaves out. It moves nothing, and repeating it sends the same again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
from arroyo.types import Partition, Topic

from consumer_fleet.bootstrap.configure import configure
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.codec import Decode
from consumer_fleet.consumers import registry
from consumer_fleet.dlq.letters import (
    DeadLetterTopic,
    Letter,
    LettersTopic,
    Selection,
    consumers_of,
)
from consumer_fleet.dlq.replay_position import Standing, Tally, standing
from consumer_fleet.errors import EXIT_OK, FleetError
from consumer_fleet.kafka.chunk import CHUNK_BYTES, CHUNK_MESSAGES, Chunk, Record
from consumer_fleet.kafka.clients import consumer_config
from consumer_fleet.kafka.consumer import ChunkConsumer
from consumer_fleet.kafka.offset_spec import LATEST, OffsetSpec
from consumer_fleet.replay.rejects import free_path
from consumer_fleet.replay.through import (
    Extent,
    Hooks,
    Input,
    Source,
    ThroughRun,
    local_input,
    rejects_header,
    remote_destinations,
)
from consumer_fleet.replay.transform import DecodeByOrigin, load_transform

# Letters that may be looked at before the run loop is given a turn.
_LOOKED_AT = 1000
# What a replay of nothing has done.
_NOTHING: Mapping[str, Any] = MappingProxyType(
    {"delivered": 0, "filtered": {}, "rejected": {}, "rejects_file": None, "interrupted": False,
     "complete": True}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What the command line asks for. ``since`` goes back to what was replayed before."""

    selection: Selection
    since: OffsetSpec | None = None
    until: OffsetSpec | None = None
    transform: str | None = None
    through: str | None = None
    rejects: Path | None = None
    yes: bool = False
    dry_run: bool = False
    as_json: bool = False

    @property
    def is_filtered(self) -> bool:
        return not (self.selection.is_everything and self.since is None and self.until is None)


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to replay. ``within``: what of each partition, end excluded, was looked at."""

    tally: Tally
    consumers: Mapping[str, str]
    within: Mapping[int, tuple[int, int]]

    @property
    def total(self) -> int:
        return self.tally.total


class DeadLetterReplay:
    """One ``consumer dlq replay``: plans, asks for ``--yes``, replays, says where things stand."""

    def __init__(
        self,
        place: DeadLetterTopic,
        request: ReplayRequest,
        options: Options,
        kafka: Mapping[str, Any],
    ) -> None:
        self._place = place
        self._request = request
        self._options = options
        self._kafka = kafka

    def run(self) -> int:
        """Blocks until it has ended; gives the exit code. Raises FleetError, UsageError."""
        request = self._request
        if request.transform is not None:
            load_transform(request.transform)
        if request.through is not None:
            registry.get(request.through)
        before = standing(self._kafka, self._place)
        if not request.dry_run:
            before.refuse_a_second()
        plan = self._plan(before)
        if not (request.as_json and request.dry_run):
            click.echo(self._described(plan, before), err=not request.dry_run)
        if request.dry_run or not plan.total:
            if request.as_json:
                nothing = {} if request.dry_run else _NOTHING
                self._print_document(plan, {**nothing, "not_replayed": before.left})
            return EXIT_OK
        remote = remote_destinations(self._options)
        if remote and not request.yes:
            raise click.UsageError(
                f"this sends {plan.total:,} messages to {', '.join(remote)}: add --yes, or look "
                "first with --dry-run"
            )
        code = self._replay(plan, before)
        if not request.as_json:
            click.echo(self._where_it_stands())
        return code

    # -- the plan -------------------------------------------------------------------------------

    def _plan(self, before: Standing) -> Plan:
        request, tally = self._request, Tally()
        starts = before.next if request.since is None else before.starts
        start = request.since or OffsetSpec("offset", min(starts.values(), default=0))
        with LettersTopic(
            self._kafka, self._place.name, start=start, end=request.until or LATEST
        ) as topic:
            within = {
                index: (max(span.start, starts.get(index, 0)), span.end)
                for index, span in topic.reader.ranges.items()
            }
            for letter in topic.letters():
                is_new = letter.record.offset >= within[letter.partition][0]
                if is_new and request.selection.takes(letter):
                    tally.add(letter)
        consumers = {}
        if request.through is None:
            consumers = consumers_of(tally.topics, self._place.consumer, self._options)
        return Plan(tally, consumers, within)

    def _print_document(self, plan: Plan, more: Mapping[str, Any]) -> None:
        document = {
            "topic": self._place.name,
            "group": self._place.group,
            "dry_run": self._request.dry_run,
            "dead_letters": plan.total,
            "reasons": plan.tally.as_document(),
            "consumers": self._consumers(plan),
            **more,
        }
        click.echo(json.dumps(document))

    def _consumers(self, plan: Plan) -> list[str]:
        named = self._request.through
        return sorted(set(plan.consumers.values())) if named is None else [named]

    def _described(self, plan: Plan, before: Standing) -> str:
        selection = self._request.selection
        what = f"{self._place.name}{'' if selection.is_everything else f' ({selection})'}"
        if not plan.total:
            return f"Nothing to replay in {what}. {_stands(self._place, before)}"
        through = ", ".join(self._consumers(plan))
        verb = "Would replay" if self._request.dry_run else "To replay:"
        return (
            f"{verb} {plan.tally.counted} of {what} through {through}:\n"
            f"  {plan.tally}\n"
            f"{_stands(self._place, before)}"
        )

    # -- the replay -----------------------------------------------------------------------------

    def _replay(self, plan: Plan, before: Standing) -> int:
        name = self._place.name
        app = configure(self._options)
        through = self._consumers(plan)
        run = ThroughRun(
            app,
            self._decode(plan),
            name=name,
            rejects=self._request.rejects or free_path(name),
            header=rejects_header(
                name, before.partitions, through[0] if len(through) == 1 else None
            ),
            transform=self._request.transform,
            is_quiet=self._request.as_json,
        )
        try:
            with run.shutdown.signals():
                return self._run(run, plan, before)
        finally:
            if self._request.as_json:
                self._print_document(plan, {**run.outcome(), "not_replayed": self._left()})

    def _run(self, run: ThroughRun, plan: Plan, before: Standing) -> int:
        name, total = self._place.name, plan.total
        if not self._request.is_filtered:
            extent = Extent(total, is_settled=lambda: self._has_replayed(plan))
            return run.run(name, lambda hooks: self._as_group(plan, hooks), extent)
        start = OffsetSpec("offset", min((span[0] for span in plan.within.values()), default=0))
        with LettersTopic(self._kafka, name, start=start, end=LATEST, within=plan.within) as topic:
            chunks = chunks_of(topic.letters_or_none(), Topic(name), self._request.selection)
            source = Source(name, name, before.partitions, chunks, Extent(total))
            return run.run(name, lambda hooks: local_input(source, hooks), source.extent)

    def _has_replayed(self, plan: Plan) -> bool:
        """Whether the group stands behind all of the plan."""
        try:
            now = standing(self._kafka, self._place).next
        except FleetError:
            return False
        return all(now.get(index, 0) >= end for index, (_, end) in plan.within.items())

    def _left(self) -> int | None:
        try:
            return standing(self._kafka, self._place).left
        except FleetError:
            return None  # what has ended the replay is told

    def _decode(self, plan: Plan) -> Decode:
        if self._request.through is not None:
            return registry.get(self._request.through).decode
        return DecodeByOrigin(tuple(plan.consumers.items()))

    def _as_group(self, plan: Plan, hooks: Hooks) -> Input:
        topic = Topic(self._place.name)
        return ChunkConsumer(
            consumer_config(self._kafka, self._place.group),
            # Nothing is lost to a place that is gone here: a person has purged it.
            offset_policy="earliest",
            on_failure=hooks.on_failure,
            on_poll=hooks.on_poll,
            on_offsets_lost=lambda _partition, _messages: None,
            on_partitions_lost=hooks.on_partitions_lost,
            ends={Partition(topic, index): end for index, (_, end) in plan.within.items()},
        )

    def _where_it_stands(self) -> str:
        try:
            stands = _stands(self._place, standing(self._kafka, self._place))
        except FleetError as error:
            # What the replay has done is told, and is its exit code.
            stands = f"Where group {self._place.group} stands now is not known: {error}"
        if not self._request.is_filtered:
            return stands
        return f"{stands}\nA filtered replay does not move it: the next one sends the same again."


def _stands(place: DeadLetterTopic, now: Standing) -> str:
    if not now.replayed:
        return f"Group {place.group}: nothing is replayed so far."
    return f"Group {place.group}: {now.left:,} are not replayed."


def chunks_of(
    letters: Iterator[Letter | None], topic: Topic, selection: Selection
) -> Iterator[Chunk | None]:
    """The chosen letters as chunks; None from time to time where there are none."""
    held: dict[int, list[Record]] = {}
    size = count = looked_at = 0
    for letter in letters:
        if letter is not None and selection.takes(letter):
            held.setdefault(letter.partition, []).append(letter.record)
            size += letter.record.size
            count += 1
        looked_at += 1
        full = count >= CHUNK_MESSAGES or size >= CHUNK_BYTES
        if letter is None or full or looked_at >= _LOOKED_AT:
            yield from _as_chunks(held, topic)
            if not held:
                yield None
            held, size, count, looked_at = {}, 0, 0, 0
    yield from _as_chunks(held, topic)


def _as_chunks(held: Mapping[int, list[Record]], topic: Topic) -> Iterator[Chunk]:
    for index, records in held.items():
        size = sum(record.size for record in records)
        yield Chunk(Partition(topic, index), tuple(records), size)
