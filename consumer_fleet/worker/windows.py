"""The parts that topics have of a worker: each starts messages for itself."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.capture.gate import room_for
from consumer_fleet.capture.share import HasRoom

_Task = TypeVar("_Task")

# Envelopes captured and not settled: enough to keep every connection busy while messages are
# decoded.
_PER_CONNECTION: Final = 2
# Of several topics, each leaves some connections free, even if it stands still.
_PER_CONNECTION_IF_SHARED: Final = 0.75


class HasComeBack(Protocol):
    """As ``SentIds.has_come_back``."""

    def __call__(self, envelope: Envelope, place: int, /, salt: int = 0) -> bool: ...


@dataclass(slots=True, eq=False)
class Window(Generic[_Task]):
    """One topic's part."""

    has_come_back: Callable[[Envelope, int], bool]
    #: With messages to start, in order of arrival.
    tasks: deque[_Task] = field(default_factory=deque)
    #: Messages that are captured and not settled.
    in_flight: int = 0


class Windows(Generic[_Task]):
    """The windows by topic."""

    def __init__(
        self, options: Options, has_come_back: HasComeBack, destinations: Sequence[HasRoom]
    ) -> None:
        self._is_shared = len(options.topic) > 1
        #: How many more messages of a window may be captured, by how many are in flight.
        self.room = room_for(destinations, options.connections * _PER_CONNECTION)
        if self._is_shared:
            room, limit = self.room, math.ceil(options.connections * _PER_CONNECTION_IF_SHARED)
            self.room = lambda in_flight: min(limit - in_flight, room(in_flight))
        self._has_come_back = has_come_back
        self._by_topic: dict[str, Window[_Task]] = {}
        #: All of them. A turn of the loop looks at each, so this is no call.
        self.each = self._by_topic.values()

    def of(self, topic: str) -> Window[_Task]:
        if topic not in self._by_topic:
            salted = partial(self._has_come_back, salt=hash(topic))
            self._by_topic[topic] = Window(salted if self._is_shared else self._has_come_back)
        return self._by_topic[topic]
