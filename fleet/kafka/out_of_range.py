"""Groups that stand at an offset which the broker does not hold: their next read fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet.kafka.groups import Groups


def reset_command(group: str, topic: str, to: str = "earliest") -> str:
    """What a person types to move the group; it shows what would happen, ``--execute`` does it."""
    return f"consumer offsets reset --group {group} --topic {topic} --to {to}"


@dataclass(frozen=True, slots=True)
class OutOfRange:
    """A position outside of what the broker holds, ``start`` to ``end`` (excluded)."""

    group: str
    topic: str
    partition: int
    committed: int
    start: int
    end: int

    @property
    def lost(self) -> int:
        """Offsets that were gone before they were read. None are where the position lies past the
        end: the topic was made anew, or has lost its tail.
        """
        return max(0, self.start - self.committed)

    def __str__(self) -> str:
        why = f"{self.lost:,} offsets are lost" if self.lost else "it lies past the end"
        return (
            f"{self.topic}/{self.partition}: group {self.group!r} stands at {self.committed}, the "
            f"broker holds {self.start} to {self.end}: {why}"
        )


def out_of_range(
    base_config: Mapping[str, Any], wanted: Iterable[tuple[str, str]]
) -> list[OutOfRange]:
    """Every such position of these (group, physical topic) pairs. Blocks on the broker.

    Topics that are not there and groups that never committed give nothing. Raises
    KafkaUnreachable, or ConfigurationError where access is refused.
    """
    found = []
    pairs = sorted(set(wanted))
    with Groups(base_config) as groups:
        present = groups.topics()
        groups.prepare(group for group, topic in pairs if topic in present)
        for group, topic in pairs:
            spots = [(topic, index) for index in present.get(topic, ())]
            # A group that is at work passes the start while it is asked about, so the start is
            # taken before its position, and the end after it.
            starts = groups.starts(spots)
            committed = groups.committed(group, spots)
            ends = groups.ends(spots)
            for spot, offset in sorted(committed.items()):
                if spot in starts and spot in ends and not starts[spot] <= offset <= ends[spot]:
                    position = OutOfRange(group, *spot, offset, starts[spot], ends[spot])
                    found.append(position)
    return found
