"""Which entries a list shows, as a condition in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_TERMS: Final = 10


@dataclass(frozen=True, slots=True)
class Filter:
    """``text`` is words, each of which must occur in what is searched, in any case of letters.

    ``dead`` True keeps dead letters only, False keeps the others.
    """

    text: str = ""
    type: str | None = None
    level: str | None = None
    dead: bool | None = None

    @property
    def is_empty(self) -> bool:
        return not self.text.split() and self._exact == (None, None, None)

    @property
    def _exact(self) -> tuple[str | None, str | None, bool | None]:
        return self.type, self.level, self.dead

    def condition(self) -> tuple[str, list[str | int]]:
        """A condition of constant text, and the values of its placeholders."""
        parts: list[str] = []
        values: list[str | int] = []
        if self.type is not None:
            parts.append("type = ?")
            values.append(self.type)
        if self.level is not None:
            parts.append("level = ?")
            values.append(self.level)
        if self.dead is not None:
            parts.append(f"dead_letter IS {'NOT ' if self.dead else ''}NULL")
        for word in self.text.casefold().split()[:_TERMS]:
            # A scan: 10,000 entries take a few milliseconds, and no index needs upkeep at inserts.
            parts.append("instr(searched, ?) > 0")
            values.append(word)
        return " AND ".join(parts) or "1", values
