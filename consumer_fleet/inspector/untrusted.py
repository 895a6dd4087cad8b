"""Read JSON of unknown content: nothing here raises for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeGuard

import orjson

JsonObject = Mapping[str, Any]
NOTHING: Final[JsonObject] = MappingProxyType({})

# Larger payloads are listed without being parsed, which would take several times their size.
# Servers refuse events of more than 1 MiB.
PARSED_BYTES: Final = 2 * 1024 * 1024
LINE_CHARS: Final = 200
# Longer texts are cut before any other processing.
CUT_CHARS: Final = 2000
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def load(payload: bytes, limit_bytes: int = PARSED_BYTES) -> JsonObject:
    """Parse an object; an empty one for anything else, and above the limit."""
    if len(payload) > limit_bytes:
        return NOTHING
    try:
        return as_object(orjson.loads(payload))
    except orjson.JSONDecodeError:
        pass
    try:
        # orjson is too strict for what SDKs send: NaN, and lone surrogates.
        return as_object(json.loads(payload))
    except (ValueError, RecursionError):
        return NOTHING


def one_line(value: object, limit: int = LINE_CHARS) -> str:
    """``value`` as one line of valid text for stores and encoders; "" if it is not a scalar."""
    if value is None or (type(value) is str and value.isalnum() and len(value) <= limit):
        return value or ""  # a fast path for most values
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    try:
        text = str(value)[:CUT_CHARS]
    except ValueError:  # an integer of thousands of digits
        return ""
    text = " ".join(valid_text(text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def valid_text(text: str) -> str:
    """The text without control characters and what is not valid UTF-8."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()  # lone surrogates are not valid UTF-8
    return text if text.isprintable() else _CONTROLS.sub(" ", text)


def as_object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else NOTHING


def as_objects(value: object) -> list[JsonObject]:
    """The objects of a list; none if it is not a list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
