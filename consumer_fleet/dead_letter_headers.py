"""The headers that tell of a dead letter, written and read in one place.

They stand behind the message's own, in this order, and their names start with ``dlq.``:

====================  ==========================================================
``dlq.reason``        a short fixed identifier: ``invalid_json``, ``http_400``, …
``dlq.detail``        for a person; may be absent
``dlq.topic``         where the message was
``dlq.partition``
``dlq.offset``
``dlq.timestamp_ms``  the broker's timestamp of the original; may be absent
``dlq.group``         the consumer group that rejected it
====================  ==========================================================

Others use such names too. Only a whole set at the very end is read as ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

# Ordered, and a name may occur more than once; a header's value may be None.
Headers: TypeAlias = Sequence[tuple[str, str | bytes | None]]

_PREFIX: Final = "dlq."
_FIRST: Final = "dlq.reason"
_DETAIL_LIMIT: Final = 1000


class Facts(NamedTuple):
    """Why a message was rejected, and where it was then."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    group: str

    @property
    def place(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"


class Restored(NamedTuple):
    """A dead letter taken apart. ``headers`` are the message's own; ``last`` tells of its latest
    rejection and ``origin`` of its first: a dead letter may have been rejected once more.
    """

    headers: Headers
    last: Facts
    origin: Facts


def with_facts(headers: Headers, facts: Facts) -> list[tuple[str, str | bytes | None]]:
    """The headers of the dead letter. What is not known is left out."""
    texts = {name: "" if value is None else str(value) for name, value in facts._asdict().items()}
    texts["detail"] = texts["detail"][:_DETAIL_LIMIT]
    # Half a surrogate pair, from a codec's message, has no form in UTF-8.
    encoded = ((name, text.encode(errors="backslashreplace")) for name, text in texts.items())
    return [*headers, *((f"{_PREFIX}{name}", value) for name, value in encoded if value)]


def restore(headers: Headers) -> Restored | None:
    """Take a dead letter's headers apart; None if they are not those of a dead letter."""
    found = _split(headers)
    if found is None:
        return None
    last = found[1]
    while (inner := _split(found[0])) is not None:
        found = inner
    return Restored(found[0], last, found[1])


def _split(headers: Headers) -> tuple[Headers, Facts] | None:
    """The headers before the set at the end, and what that says."""
    texts: dict[str, str] = {}
    for index in range(len(headers) - 1, -1, -1):
        name, value = headers[index]
        key = name.removeprefix(_PREFIX)
        if not name.startswith(_PREFIX) or key not in Facts._fields or key in texts:
            return None
        texts[key] = value if isinstance(value, str) else (value or b"").decode(errors="replace")
        if name == _FIRST:
            facts = _as_facts(texts)
            return None if facts is None else (headers[:index], facts)
    return None


def _as_facts(texts: dict[str, str]) -> Facts | None:
    numbers = {name: texts.get(name, "") for name in ("partition", "offset", "timestamp_ms")}
    timestamp = numbers.pop("timestamp_ms")
    if not texts["reason"] or not texts.get("topic"):
        return None
    if not all(_is_number(text) for text in numbers.values()):
        return None
    return Facts(
        reason=texts["reason"],
        detail=texts.get("detail", ""),
        topic=texts["topic"],
        partition=int(numbers["partition"]),
        offset=int(numbers["offset"]),
        timestamp_ms=int(timestamp) if _is_number(timestamp) else None,
        group=texts.get("group", ""),
    )


def _is_number(text: str) -> bool:
    """At most 19 digits: what a 64-bit offset has."""
    return text.isascii() and text.isdigit() and len(text) <= 19
