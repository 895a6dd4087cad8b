"""An offset as a person names it: ``earliest``, a number, a time, ``+100``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from consumer_fleet.errors import ConfigurationError

Kind: TypeAlias = Literal["earliest", "latest", "offset", "relative", "time"]

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"-(\d+)([smhdw])", re.ASCII)
_RELATIVE = re.compile(r"[+-]\d+", re.ASCII)
_OFFSET = re.compile(r"\d+", re.ASCII)
# Kafka's offsets and times have 64 bits, the sign included.
_MAX = 2**63 - 1
FORMS: Final = (
    "earliest, latest, an offset, a time (2026-01-31T12:00, UTC by default) or -15m, -2h, -3d"
)


@dataclass(frozen=True, slots=True)
class OffsetSpec:
    """``number`` is an offset, a distance in messages (relative), or milliseconds since 1970."""

    kind: Kind
    number: int = 0

    def __str__(self) -> str:
        if self.kind == "time":
            return datetime.fromtimestamp(self.number / 1000, UTC).isoformat(timespec="seconds")
        if self.kind == "relative":
            return f"{self.number:+d}"
        return str(self.number) if self.kind == "offset" else self.kind


EARLIEST: Final = OffsetSpec("earliest")
LATEST: Final = OffsetSpec("latest")


def parse_offset_spec(text: str, now_s: float, *, relative: bool = False) -> OffsetSpec:
    """Parse what ``text`` names. ``-15m`` is a time before ``now_s`` (seconds since 1970).

    With ``relative``, ``+N`` and ``-N`` count messages from a group's position. Raises
    ConfigurationError that lists the valid forms, or says that the number is out of range.
    """
    text = text.strip()
    if text in ("earliest", "latest"):
        return EARLIEST if text == "earliest" else LATEST
    if _OFFSET.fullmatch(text):
        return OffsetSpec("offset", _number(text, text))
    if relative and _RELATIVE.fullmatch(text):
        return OffsetSpec("relative", _number(text, text))
    if ago := _AGO.fullmatch(text):
        seconds = _number(ago[1], text) * _SECONDS[ago[2]]
        return OffsetSpec("time", _time(int(now_s * 1000) - seconds * 1000, text))
    try:
        moment = datetime.fromisoformat(text)
        # A time without a zone is UTC: the brokers' logs are, and no shell's zone changes it.
        moment = moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return OffsetSpec("time", _time(int(moment.timestamp() * 1000), text))
    except (ValueError, OverflowError) as error:
        forms = f"{FORMS}, +N or -N" if relative else FORMS
        raise ConfigurationError(f"{text!r} is not a valid offset: use {forms}") from error


def _number(digits: str, text: str) -> int:
    """``digits`` may have a sign."""
    # Python itself refuses to read thousands of digits.
    if len(digits) > len(f"+{_MAX}") or abs(int(digits)) > _MAX:
        raise ConfigurationError(f"{text!r} is too large: the maximum is {_MAX}")
    return int(digits)


def _time(milliseconds: int, text: str) -> int:
    if milliseconds < 0:
        raise ConfigurationError(f"{text!r} is before 1970, where Kafka's timestamps start")
    return milliseconds
