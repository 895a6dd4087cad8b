"""One message as a line for a terminal, or as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

import click

from consumer_fleet.codec import RawMessage
from consumer_fleet.consumers.registry import ConsumerDefinition
from consumer_fleet.humanize import moment
from consumer_fleet.inspector.description import describe
from consumer_fleet.inspector.feeder import entry_of
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.printable import printable, shortened

#: ``settled``: the group's commit has passed it, so it is delivered or filtered. ``unknown``: the
#: group has committed nothing in its partition.
Delivery: TypeAlias = Literal["settled", "held", "dead letter", "waiting", "unknown"]

_DELIVERY_COLORS: Final[dict[Delivery, str]] = {
    "settled": "green",
    "held": "yellow",
    "dead letter": "red",
}
_LEVEL_COLORS: Final = {
    "fatal": "red",
    "error": "red",
    "warning": "yellow",
    "info": "blue",
}
_DELIVERY_WIDTH: Final = max(map(len, ("settled", "dead letter")))
_LEVEL_WIDTH: Final = len("warning")
_GAP: Final = "  "


@dataclass(slots=True)
class TailLine:
    """What is known of a message. ``detail`` says why it is held or a dead letter."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    project: int | None
    type: str
    level: str | None
    title: str
    delivery: Delivery = "waiting"
    detail: str = ""

    @property
    def position(self) -> tuple[str, int, int]:
        return self.topic, self.partition, self.offset

    def as_plain_data(self) -> dict[str, Any]:
        found = moment(self.timestamp_ms)
        at = None if found is None else found.isoformat(timespec="milliseconds")
        return {"at": at, **asdict(self)}


def line_of(topic: str, partition: int, record: Record, definition: ConsumerDefinition) -> TailLine:
    """Read a message as its consumer does. Never raises for the message's content."""
    message = RawMessage(topic, partition, record.offset, record.timestamp_ms, record.value)
    entry = entry_of(topic, partition, record, definition.decode)
    found = describe(entry)
    return TailLine(
        topic,
        partition,
        record.offset,
        record.timestamp_ms,
        definition.format.project_of(message),
        found.type,
        found.level,
        found.title,
    )


class Layout:
    """Lines in columns, as wide as what came before; a title is cut at ``width``, if there is one.

    Of a single topic, the position leaves out its name.
    """

    def __init__(self, width: int | None, *, with_topic: bool) -> None:
        self.width = width
        self._with_topic = with_topic
        self._position_width = 0
        self._project_width = 1

    def text(self, line: TailLine) -> str:
        """The line, with colours."""
        position = f"{line.partition}@{line.offset}"
        if self._with_topic:
            position = f"{line.topic}/{position}"
        project = "-" if line.project is None else str(line.project)
        self._position_width = max(self._position_width, len(position))
        self._project_width = max(self._project_width, len(project))
        level = line.level or "-"
        cells = (
            (_clock(line.timestamp_ms), None),
            (f"{line.delivery:<{_DELIVERY_WIDTH}}", _DELIVERY_COLORS.get(line.delivery)),
            (f"{position:<{self._position_width}}", None),
            (f"{project:>{self._project_width}}", None),
            (f"{level:<{_LEVEL_WIDTH}}", _LEVEL_COLORS.get(level)),
        )
        # The reason of a message that can't be read is in both.
        words = [line.title if line.type != "undecodable" or not line.detail else "", line.detail]
        title = printable(": ".join(filter(None, words)))
        if self.width is not None:
            used = sum(len(text) + len(_GAP) for text, _ in cells)
            title = shortened(title, max(10, self.width - used))
        return _GAP.join([*(click.style(text, fg=color) for text, color in cells), title])


def _clock(timestamp_ms: int | None) -> str:
    """Local time, as a person at a terminal has it."""
    found = moment(timestamp_ms) or datetime.now(UTC)
    return found.astimezone().strftime("%H:%M:%S")
