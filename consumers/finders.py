"""Find the event or the project of a message: visitors that change nothing, and short cuts."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from consumer_fleet.capture.items import HAS_EVENT


class Finder:
    """A visitor that looks for the event and changes nothing."""

    def __init__(self) -> None:
        self.event: Any = None
        self.first: Any = None

    def frame(self, members: dict[str, Any]) -> dict[str, Any]:
        return members

    def document(self, kind: str, document: Any) -> Any:
        if self.event is None and kind in HAS_EVENT:
            self.event = document
        if self.first is None:
            self.first = document
        return document

    def blob(self, kind: str, content: bytes) -> bytes:
        return content


class ProjectFinder(Finder):
    """A visitor that looks for the project: Relay writes it around the payload, or into it."""

    def __init__(self) -> None:
        super().__init__()
        self.project_id: int | None = None

    def frame(self, members: dict[str, Any]) -> dict[str, Any]:
        if self.project_id is None:
            self.project_id = as_project_id(members.get("project_id"))
        return members

    def document(self, kind: str, document: Any) -> Any:
        if self.project_id is None and isinstance(document, dict):
            known = (document.get(name) for name in ("project_id", "project"))
            self.project_id = next((each for each in map(as_project_id, known) if each), None)
        return document


def as_project_id(value: object) -> int | None:
    """A project's id, which older messages have as text."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class ProjectMember(msgspec.Struct, gc=False):
    """The member around a payload that names its project; nothing else is parsed."""

    project_id: int | str | None = None


decode_project_member: Final = msgspec.msgpack.Decoder(ProjectMember).decode
