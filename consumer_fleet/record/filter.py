"""The language of ``--filter``: which messages are wanted, by what is known of them.

::

    expression = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation = "not" negation | "(" expression ")" | comparison
    comparison = fact operator value
    fact = "key" | "value" | "partition" | "offset" | "size" | "timestamp"
         | "header." NAME | "json." PATH | "event." PATH
    operator = "=" | "!=" | "~=" | "<" | "<=" | ">" | ">="
    value = a word without spaces, parentheses and quotes | "quoted" | 'quoted'

docs/recordings.md says what each fact is.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeAlias

import orjson

from consumer_fleet.consumers import registry
from consumer_fleet.consumers.registry import ConsumerDefinition
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.offset_spec import parse_offset_spec

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
        return registry.get(self._consumer).format.event_of(self.record.value)

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
            place = parse_offset_spec(value, 0)
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


Predicate: TypeAlias = Callable[[MessageFacts], bool]

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<operator>!=|~=|<=|>=|=|<|>)
      | (?P<bracket>[()])
      | (?P<word>[^\s()"'=<>!~]+)
    )""",
    re.VERBOSE | re.DOTALL,
)
# A value may hold what an operator consists of: key=a=b.
_BARE_VALUE: Final = re.compile(r"""\s*([^\s()"']+)""")
_QUOTED_VALUE: Final = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""", re.DOTALL)
_JOINS: Final = ("and", "or")
_DEPTH: Final = 100


def parse_filter(text: str, consumer: ConsumerDefinition | None) -> Callable[[int, Record], bool]:
    """A function that tells of (partition, message) whether ``text`` is true of it.

    Raises FilterError, which shows the place. ``consumer`` says where a message's event is.
    """
    if not text.isascii() and text.encode(errors="replace").decode() != text:
        raise FilterError("it is no UTF-8: compare other bytes with ~= and escapes as \\xff")
    predicate = _Parser(text, consumer).parse()
    name = None if consumer is None else consumer.name

    def wanted(partition: int, record: Record) -> bool:
        return predicate(MessageFacts(partition, record, name))

    return wanted


class _Parser:
    def __init__(self, text: str, consumer: ConsumerDefinition | None) -> None:
        self._text = text
        self._consumer = consumer
        self._position = 0
        self._depth = 0

    def parse(self) -> Predicate:
        predicate = self._expression()
        if self._peek() != (None, ""):
            self._fail("expected and, or, or the end")
        return predicate

    def _expression(self) -> Predicate:
        parts = [self._conjunction()]
        while self._take("word", "or"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else lambda facts: any(part(facts) for part in parts)

    def _conjunction(self) -> Predicate:
        parts = [self._negation()]
        while self._take("word", "and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else lambda facts: all(part(facts) for part in parts)

    def _negation(self) -> Predicate:
        self._depth += 1
        if self._depth > _DEPTH:
            self._fail(f"more than {_DEPTH} levels")
        try:
            if self._take("word", "not"):
                inner = self._negation()
                return lambda facts: not inner(facts)
            if self._take("bracket", "("):
                inner = self._expression()
                if not self._take("bracket", ")"):
                    self._fail("expected )")
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Predicate:
        kind, fact = self._peek()
        if kind != "word" or fact in _JOINS:
            self._fail(f"expected a fact ({FACTS})")
        start = self._skip_space()
        self._advance()
        self._check_fact(fact, start)
        kind, operator = self._peek()
        if kind != "operator":
            self._fail("expected =, !=, ~=, <, <=, > or >=")
        operator_at = self._skip_space()
        self._advance()
        value_at = self._skip_space()
        value, quoted = self._value()
        try:
            return Comparison(fact, operator, value, quoted=quoted)
        except FilterError as error:
            place = operator_at if error.about_operator else value_at
            self._fail(str(error), place)

    def _check_fact(self, fact: str, start: int) -> None:
        if fact in ("key", "value", *NUMBERS):
            return
        kind, dot, rest = fact.partition(".")
        if kind not in ("header", "json", "event") or not dot or not rest:
            self._fail(f"no fact: expected {FACTS}", start)
        if kind != "header" and not all(rest.split(".")):
            self._fail("a path is names and numbers with a dot between them", start)
        if kind == "event" and self._consumer is None:
            self._fail("where the event is depends on the format: name it with --format", start)

    def _value(self) -> tuple[str, bool]:
        if quoted := _QUOTED_VALUE.match(self._text, self._position):
            self._position = quoted.end()
            quote = quoted[1][0]
            return quoted[1][1:-1].replace(f"\\{quote}", quote), True
        if bare := _BARE_VALUE.match(self._text, self._position):
            self._position = bare.end()
            return bare[1], False
        return self._fail("expected a value; quote one with spaces, quotes or parentheses")

    # -- tokens ---------------------------------------------------------------------------------

    def _peek(self) -> tuple[str | None, str]:
        """The kind and text of what follows; no kind at the end."""
        token = _TOKEN.match(self._text, self._position)
        if token is not None and token.lastgroup is not None:
            return token.lastgroup, token[token.lastgroup]
        if self._text[self._position :].strip():
            self._fail("this makes no sense")
        return None, ""

    def _advance(self) -> None:
        token = _TOKEN.match(self._text, self._position)
        if token is not None:
            self._position = token.end()

    def _take(self, kind: str, text: str) -> bool:
        if self._peek() != (kind, text):
            return False
        self._advance()
        return True

    def _skip_space(self) -> int:
        rest = self._text[self._position :]
        return self._position + len(rest) - len(rest.lstrip())

    def _fail(self, problem: str, position: int | None = None) -> NoReturn:
        place = self._skip_space() if position is None else position
        # One line, whatever the expression holds: the caret must stand below its place.
        line = "".join(each if each.isprintable() else " " for each in self._text)
        raise FilterError(f"{problem}\n  {line}\n  {' ' * place}^")
