"""What a filter may know of a message, and how a fact compares with a value."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import orjson

from consumers.recording.formats import event_of
from fleet.errors import ConfigurationError
from fleet.kafka.chunk import Record
from fleet.kafka.places import parse_place

FACTS: Final = (
    "key, value, partition, offset, size, timestamp, header.NAME, json.PATH or event.PATH"
)
NUMBERS: Final = ("partition", "offset", "size", "timestamp")
_ORDERS: Final[Mapping[str, Callable[[float, float], bool]]] = MappingProxyType(
    {
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }
)
_LITERALS: Final[Mapping[str, object]] = MappingProxyType(
    {"null": None, "true": True, "false": False}
)


class FilterError(ValueError):
    """An expression that is none; shows where. ``about_operator``: not about the value."""

    def __init__(self, message: str, *, about_operator: bool = False) -> None:
        super().__init__(message)
        self.about_operator = about_operator


class MessageFacts:
    """One message. What must be parsed is parsed once, and only if it is asked for."""

    def __init__(self, partition: int, record: Record, consumer: str | None) -> None:
        self.partition = partition
        self.record = record
        self._consumer = consumer

    @cached_property
    def json(self) -> object:
        try:
            return orjson.loads(self.record.value or b"")
        except orjson.JSONDecodeError:
            return None

    @cached_property
    def event(self) -> object:
        if self._consumer is None:
            return None
        return event_of(self._consumer, self.record.value)

    def found(self, fact: str) -> list[Any]:
        """The values of a fact: none where it is absent, several for a repeated header."""
        record = self.record
        if fact == "partition":
            return [self.partition]
        if fact == "size":
            return [record.size]
        if fact in ("key", "value", "offset"):
            return _present(getattr(record, fact))
        if fact == "timestamp":
            return _present(record.timestamp_ms)
        kind, _, rest = fact.partition(".")
        if kind == "header":
            return [value for name, value in record.headers if name == rest and value is not None]
        return _present(_walk(self.json if kind == "json" else self.event, rest.split(".")))


class Comparison:
    """``fact operator value``, true if it is for any of the fact's values.

    ``!=`` is what ``=`` is not: also true of a fact that is absent. All else is false of those.
    """

    def __init__(self, fact: str, op: str, value: str, *, quoted: bool) -> None:
        self._fact = fact
        self._negated = op == "!="
        is_number = fact in NUMBERS
        is_text = fact in ("key", "value") or fact.startswith("header.")
        if (op == "~=" and is_number) or (op in _ORDERS and is_text):
            what = "a number" if is_number else "text"
            raise FilterError(f"{fact} is {what}: {op} does not apply", about_operator=True)
        if value == "null" and not quoted and op in ("=", "!="):
            self._test: Callable[[Any], bool] | None = None
        elif op == "~=":
            self._test = _matches(value)
        elif op in _ORDERS:
            number, order = _number(fact, value), _ORDERS[op]
            self._test = lambda found: _is_number(found) and order(found, number)
        else:
            self._test = _equals(fact, value, quoted=quoted)

    def __call__(self, facts: MessageFacts) -> bool:
        values = facts.found(self._fact)
        if self._test is None:
            return bool(values) if self._negated else not values
        return any(map(self._test, values)) is not self._negated


def _equals(fact: str, value: str, *, quoted: bool) -> Callable[[Any], bool]:
    if fact in NUMBERS:
        number = _number(fact, value)
        return lambda found: bool(found == number)
    text, raw = value, value.encode()
    if fact.startswith(("json.", "event.")) and not quoted:
        if value in _LITERALS:
            literal = _LITERALS[value]
            return lambda found: found is literal
        try:
            number = float(value)
        except ValueError:
            pass
        else:
            return lambda found: found == (number if _is_number(found) else text)
    return lambda found: found in (text, raw)


def _matches(pattern: str) -> Callable[[Any], bool]:
    try:
        text, raw = re.compile(pattern), re.compile(pattern.encode())
    except (re.error, OverflowError) as error:
        raise FilterError(f"no regular expression: {error}") from error

    def matches(found: Any) -> bool:
        if isinstance(found, bytes):
            return raw.search(found) is not None
        if _is_number(found):
            found = str(found)
        return isinstance(found, str) and text.search(found) is not None

    return matches


def _number(fact: str, value: str) -> float:
    try:
        return int(value) if value.isdecimal() else float(value)
    except ValueError:
        pass
    if fact == "timestamp":
        try:
            place = parse_place(value, 0)
        except ConfigurationError:
            place = None
        if place is not None and place.kind == "time" and not value.startswith("-"):
            return place.number
        raise FilterError("expected milliseconds since 1970, or a time as 2026-01-31T12:00")
    raise FilterError("expected a number")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _walk(document: object, path: list[str]) -> object:
    for name in path:
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and name.isdecimal() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document


def _present(value: object) -> list[Any]:
    return [] if value is None else [value]
