"""An envelope that its destination limits or refuses alone, and the state of its delivery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from consumer_fleet.errors import RejectedMessage

# "unavailable": its destination takes nothing, which is no fault of the message.
HeldKind: TypeAlias = Literal["limited", "failing", "unavailable"]

_NOTHING: Final[Mapping[str, Sequence[int]]] = MappingProxyType({})


class Held(NamedTuple):
    """Why an envelope is held, and what its next attempt begins with.

    ``due_s`` is when a limit ends, by the wall clock; 0 where nothing says so. ``done`` are the
    destinations that need not get it again, and ``left`` the positions of the items that one has
    not accepted yet, where it accepted others. ``rejection`` is what another destination said.
    """

    kind: HeldKind
    destination: str
    answer: str
    due_s: float = 0.0
    done: Sequence[str] = ()
    left: Mapping[str, Sequence[int]] = _NOTHING
    rejection: tuple[str, str] | None = None

    def packed(self) -> list[Any]:
        """For a frame."""
        return [*self[:5], dict(self.left), self.rejection]

    def failure_at(self, destination: str) -> str | None:
        """The failure that the destination's next attempt expects, see ``failure_kind``."""
        if self.kind != "failing":
            return None
        return failure_kind(self.answer) if destination == self.destination else ""

    @property
    def rejected(self) -> RejectedMessage | None:
        return None if self.rejection is None else RejectedMessage(*self.rejection)


def failure_kind(answer: str) -> str:
    """The part of an answer that is the same for each attempt: its status, or its error."""
    return answer.partition(":")[0]
