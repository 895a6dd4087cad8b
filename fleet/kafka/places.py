"""A place in a partition, as a person names it: ``earliest``, an offset, a time, ``+100``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from fleet.errors import ConfigurationError

Kind: TypeAlias = Literal["earliest", "latest", "offset", "relative", "time"]

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"-(\d+)([smhdw])", re.ASCII)
_RELATIVE = re.compile(r"[+-]\d+", re.ASCII)
_OFFSET = re.compile(r"\d+", re.ASCII)
FORMS: Final = (
    "earliest, latest, an offset, a time (2026-01-31T12:00, UTC by default) or -15m, -2h, -3d"
)


@dataclass(frozen=True, slots=True)
class Place:
    """``number`` is an offset, a distance in messages (relative), or milliseconds since 1970."""

    kind: Kind
    number: int = 0

    def __str__(self) -> str:
        if self.kind == "time":
            return datetime.fromtimestamp(self.number / 1000, UTC).isoformat(timespec="seconds")
        if self.kind == "relative":
            return f"{self.number:+d}"
        return str(self.number) if self.kind == "offset" else self.kind


EARLIEST: Final = Place("earliest")
LATEST: Final = Place("latest")


def parse_place(text: str, now_s: float, *, relative: bool = False) -> Place:
    """The place that ``text`` names. ``-15m`` is a time before ``now_s`` (seconds since 1970).

    With ``relative``, ``+N`` and ``-N`` count messages from where a group stands. Raises
    ConfigurationError that lists the forms.
    """
    text = text.strip()
    if text in ("earliest", "latest"):
        return EARLIEST if text == "earliest" else LATEST
    if _OFFSET.fullmatch(text):
        return Place("offset", int(text))
    if ago := _AGO.fullmatch(text):
        return Place("time", int((now_s - int(ago[1]) * _SECONDS[ago[2]]) * 1000))
    if relative and _RELATIVE.fullmatch(text):
        return Place("relative", int(text))
    try:
        moment = datetime.fromisoformat(text)
        # A time without a zone is UTC: the brokers' logs are, and no shell's zone changes it.
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return Place("time", int(moment.timestamp() * 1000))
    except (ValueError, OverflowError) as error:
        forms = f"{FORMS}, +N or -N" if relative else FORMS
        raise ConfigurationError(f"{text!r} names no place in a topic; expected {forms}") from error
