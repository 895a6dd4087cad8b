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

import re
from collections.abc import Callable
from typing import Final, NoReturn, TypeAlias

from consumers.recording.filter_facts import (
    FACTS,
    NUMBERS,
    Comparison,
    FilterError,
    MessageFacts,
)
from consumers.registry import ConsumerDefinition
from fleet.kafka.chunk import Record

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
