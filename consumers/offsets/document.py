"""What ``consumer offsets`` prints with ``--json``; docs/offsets.md describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consumers.offsets.plan import Move
from consumers.offsets.tally import Tally
from consumers.status.document import iso_time, partition
from consumers.status.report import ConsumerStatus
from consumers.targets import Target
from fleet.kafka.groups import Spot
from fleet.kafka.places import Place


def reset_document(
    target: Target,
    place: Place,
    moves: list[Move],
    tallies: Mapping[Spot, Tally],
    *,
    executed: bool,
) -> dict[str, Any]:
    """``executed`` says whether the group was moved, or would be."""
    rows = [move_row(move, tallies[target.topic, move.partition]) for move in moves]
    return {
        "group": target.group,
        "topic": target.topic,
        "to": str(place),
        "executed": executed,
        "lost": sum(row["lost"] for row in rows),
        "repeated": sum(row["repeated"] for row in rows),
        "gone": sum(row["gone"] for row in rows),
        "exact": all(row["exact"] for row in rows),
        "partitions": rows,
    }


def move_row(move: Move, counted: Tally) -> dict[str, Any]:
    """One partition: ``lost`` and ``repeated`` are messages, at most so many unless ``exact``."""
    return {
        "partition": move.partition,
        "start": move.held.start,
        "end": move.held.end,
        "from": move.committed,
        "to": move.to,
        "clamped": move.clamped,
        "lost": counted.messages if move.skipped.size else 0,
        "repeated": counted.messages if move.repeated.size else 0,
        "gone": move.gone,
        "exact": counted.exact,
        "first": iso_time(counted.first_ms),
        "last": iso_time(counted.last_ms),
    }


def show_document(status: ConsumerStatus, now_s: float) -> dict[str, Any]:
    return {
        "group": status.target.group,
        "topic": status.target.topic,
        "state": status.group.state,
        "partitions": [partition(row, now_s) for row in status.rows],
    }
