"""The headers that describe a dead letter's rejection, written and read in one place.

They follow the message's own, in this order, and their names start with ``dlq.``:

====================  ==========================================================
``dlq.reason``        a short fixed identifier: ``invalid_json``, ``http_400``, …
``dlq.detail``        for a person; may be absent
``dlq.topic``         the message's original position
``dlq.partition``
``dlq.offset``
``dlq.timestamp_ms``  the broker's timestamp of the original; may be absent
``dlq.group``         the consumer group that rejected it
``dlq.due_ms``        when a rate limit ends that held it; may be absent
====================  ==========================================================

Other programs use such names, too. Only a complete set at the very end is read as ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

# Ordered; a name may occur more than once, and a value may be None.
Headers: TypeAlias = Sequence[tuple[str, str | bytes | None]]

_PREFIX: Final = "dlq."
_FIRST: Final = "dlq.reason"
_DETAIL_LIMIT: Final = 1000


class Facts(NamedTuple):
    """Why a message was rejected, and its position at that time."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    group: str
    due_ms: int | None = None

    @property
    def position(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"


class Restored(NamedTuple):
    """A dead letter without its added headers. ``headers`` are the message's own; ``last`` is its
    latest rejection and ``origin`` its first: a dead letter may have been rejected again.
    """

    headers: Headers
    last: Facts
    origin: Facts


def with_facts(headers: Headers, facts: Facts) -> list[tuple[str, str | bytes | None]]:
    """The headers of the dead letter. Unknown facts are left out."""
    texts = {name: "" if value is None else str(value) for name, value in facts._asdict().items()}
    texts["detail"] = texts["detail"][:_DETAIL_LIMIT]
    # Half a surrogate pair, from a codec's message, has no UTF-8 form.
    encoded = ((name, text.encode(errors="backslashreplace")) for name, text in texts.items())
    return [*headers, *((f"{_PREFIX}{name}", value) for name, value in encoded if value)]


def restore(headers: Headers) -> Restored | None:
    """Split a dead letter's headers; None if they are not those of a dead letter."""
    found = _split(headers)
    if found is None:
        return None
    last = found[1]
    while (inner := _split(found[0])) is not None:
        found = inner
    return Restored(found[0], last, found[1])


def _split(headers: Headers) -> tuple[Headers, Facts] | None:
    """The headers before the set at the end, and that set's facts."""
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
    due = texts.get("due_ms", "")
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
        due_ms=int(due) if _is_number(due) else None,
    )


def _is_number(text: str) -> bool:
    """At most 19 digits, as in a 64-bit offset."""
    return text.isascii() and text.isdigit() and len(text) <= 19
