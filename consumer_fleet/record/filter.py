"""``--filter``: a JMESPath expression on the facts of a message (https://jmespath.org).

docs/recordings.md lists the facts. JMESPath has neither regular expressions nor times, so there are
two more functions: ``matches(text, 'pattern')`` and ``time('2026-01-31T12:00')``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NoReturn

import jmespath
from jmespath.exceptions import (
    IncompleteExpressionError,
    JMESPathError,
    JMESPathTypeError,
    LexerError,
    ParseError,
)
from jmespath.functions import Functions, signature
from jmespath.lexer import Lexer

from consumer_fleet.consumers.registry import ConsumerDefinition
from consumer_fleet.consumers.view import read_unknown
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.offset_spec import parse_offset_spec

#: Written into a recording's header beside the filter. Files without it have a filter in a language
#: of earlier versions, or none of ``consumer record``'s.
LANGUAGE: Final = "jmespath"
_MAX_CHARACTERS: Final = 10_000


class FilterError(ValueError):
    """An invalid expression; the message points at the position."""


def _text(value: str | bytes | None) -> str | None:
    r"""Bytes as text; those that are not UTF-8 as ``\xff``."""
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


def _headers(record: Record) -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = {}
    for name, value in record.headers:
        found.setdefault(name, []).append(_text(value))
    return found


def _message(record: Record, consumer: ConsumerDefinition | None) -> Any:
    if not record.value:
        return None
    read = read_unknown if consumer is None else consumer.format.view
    return read(record.value).plain()


def _event(record: Record, consumer: ConsumerDefinition | None) -> Any:
    return None if consumer is None else consumer.format.event_of(record.value)


_FACTS: Final[Mapping[str, Callable[[int, Record, ConsumerDefinition | None], Any]]] = (
    MappingProxyType(
        {
            "partition": lambda partition, _record, _consumer: partition,
            "offset": lambda _partition, record, _consumer: record.offset,
            "timestamp": lambda _partition, record, _consumer: record.timestamp_ms,
            "size": lambda _partition, record, _consumer: record.size,
            "key": lambda _partition, record, _consumer: _text(record.key),
            "value": lambda _partition, record, _consumer: _text(record.value),
            "headers": lambda _partition, record, _consumer: _headers(record),
            "message": lambda _partition, record, consumer: _message(record, consumer),
            "event": lambda _partition, record, consumer: _event(record, consumer),
        }
    )
)


class _Functions(Functions):
    """JMESPath's functions and ours. The names and decorators are its library's interface."""

    @signature({"types": ["string", "null"]}, {"types": ["string"]})
    def _func_matches(self, text: str | None, pattern: str) -> bool:
        return text is not None and _pattern(pattern).search(text) is not None

    @signature({"types": ["string"]})
    def _func_time(self, text: str) -> int:
        return _milliseconds(text)


_OPTIONS: Final = jmespath.Options(custom_functions=_Functions())


@lru_cache(maxsize=100)
def _pattern(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise FilterError(f"not a valid regular expression: {error}") from error


@lru_cache(maxsize=100)
def _milliseconds(text: str) -> int:
    try:
        spec = parse_offset_spec(text, 0)
    except ConfigurationError:
        spec = None
    if spec is None or spec.kind != "time" or text.startswith("-"):
        raise FilterError("not a valid time: expected one like 2026-01-31T12:00")
    return spec.number


class MessageFilter:
    """Tells whether an expression is true of a message. Raises FilterError for an invalid one.

    ``inapplicable`` counts messages that a function of the expression can't be applied to, such as
    ``length`` of a missing member; they are not wanted. ``reason`` is the first one's.
    """

    def __init__(self, text: str, consumer: ConsumerDefinition | None) -> None:
        self._consumer = consumer
        self._compiled = _compile(text)
        self.inapplicable = 0
        self.reason: str | None = None
        wanted = _Checker(text, consumer).facts(self._compiled.parsed)
        self._facts = {name: _FACTS[name] for name in wanted}

    def __call__(self, partition: int, record: Record) -> bool:
        facts = {
            name: read(partition, record, self._consumer) for name, read in self._facts.items()
        }
        try:
            found = self._compiled.search(facts, options=_OPTIONS)
        except (JMESPathTypeError, FilterError, TypeError, RecursionError) as error:
            self.inapplicable += 1
            self.reason = self.reason or str(error)
            return False
        # JMESPath's truth: 0 is true.
        return found is True or (found is not False and found not in (None, "", [], {}))


def _compile(text: str) -> Any:
    if len(text) > _MAX_CHARACTERS:
        raise FilterError(f"more than {_MAX_CHARACTERS:,} characters")
    if not text.isascii() and text.encode(errors="replace").decode() != text:
        raise FilterError(r"not valid UTF-8: compare other bytes with their escapes, as in '\xff'")
    if not text.strip():
        _fail(text, 0, "an expression is expected")
    try:
        return jmespath.compile(text)
    except IncompleteExpressionError:
        _fail(text, len(text), "the expression is incomplete")
    except LexerError as error:
        problem = "use == to compare" if "'='" in error.message else error.message
        _fail(text, error.lexer_position, problem)
    except ParseError as error:
        _fail(text, error.lex_position, _explain(error))
    except JMESPathError as error:
        raise FilterError(str(error)) from error
    except RecursionError as error:
        raise FilterError("too many levels of parentheses or brackets") from error


def _explain(error: ParseError) -> str:
    """The problem in one line, with the usual fix where there is one."""
    if error.token_type == "NUMBER":  # noqa: S105 - a kind of token in an expression
        return f"put numbers in backticks: `{error.token_value}`"
    if error.token_type == "UNQUOTED_IDENTIFIER" and error.token_value in ("and", "or", "not"):  # noqa: S105 - see above
        operator = {"and": "&&", "or": "||", "not": "!"}[error.token_value]
        return f"{error.token_value!r} is {operator} in JMESPath"
    return f"unexpected {error.token_value!r}"


# Nodes whose first child alone sees the message; the others see the result of the first.
_CHAINS: Final = frozenset(
    {"subexpression", "index_expression", "projection", "value_projection", "filter_projection",
     "pipe"}
)  # fmt: skip


class _Checker:
    """Finds mistakes that JMESPath would show only at a message, or as a value that is null."""

    def __init__(self, text: str, consumer: ConsumerDefinition | None) -> None:
        self._text = text
        self._knows_format = consumer is not None

    def facts(self, parsed: Mapping[str, Any]) -> tuple[str, ...]:
        """The facts that the expression asks for. Raises FilterError for one that does not exist,
        for an unknown function, and for an invalid pattern or time.
        """
        names = dict.fromkeys(self._names(parsed, is_root=True))
        if not names:
            _fail(self._text, 0, f"it looks at no fact of a message: expected {', '.join(_FACTS)}")
        return tuple(_FACTS) if "@" in names else tuple(names)

    def _names(self, node: Mapping[str, Any], *, is_root: bool) -> Iterator[str]:
        kind, children = node["type"], node["children"]
        if kind == "field" and is_root:
            self._check_fact(node["value"])
            yield node["value"]
        elif kind == "function_expression":
            self._check_call(node)
        elif kind in ("current", "identity") and is_root:
            yield "@"
        for index, child in enumerate(children):
            if isinstance(child, dict):
                sees_root = is_root and kind != "expref" and (index == 0 or kind not in _CHAINS)
                yield from self._names(child, is_root=sees_root)

    def _check_fact(self, name: str) -> None:
        if name in ("null", "true", "false"):
            _fail(self._text, name, f"put {name} in backticks: `{name}`")
        if name not in _FACTS:
            _fail(self._text, name, f"{name!r} is unknown: expected {', '.join(_FACTS)}")
        if name == "event" and not self._knows_format:
            _fail(self._text, name, "the format tells where the event is: name it with --format")

    def _check_call(self, node: Mapping[str, Any]) -> None:
        name, arguments = node["value"], node["children"]
        known = _Functions.FUNCTION_TABLE.get(name)
        if known is None:
            _fail(self._text, name, f"there is no function {name!r}")
        types = known["signature"]
        is_variadic = bool(types) and bool(types[-1].get("variadic"))
        if len(arguments) < len(types) or (len(arguments) > len(types) and not is_variadic):
            _fail(self._text, name, f"{name} takes {len(types)} arguments, not {len(arguments)}")
        last = arguments[-1] if arguments else {"type": ""}
        check: Callable[[str], Any] | None = {"matches": _pattern, "time": _milliseconds}.get(name)
        if check is not None and last["type"] == "literal" and isinstance(last["value"], str):
            try:
                check(last["value"])
            except FilterError as error:
                _fail(self._text, _position_of(self._text, last["value"], "literal"), str(error))


def _fail(text: str, position: int | str, problem: str) -> NoReturn:
    """Raise the error with the expression and a caret. ``position`` may be a name."""
    if isinstance(position, str):
        position = _position_of(text, position, "identifier")
    # One line, whatever the expression holds: the caret must be below its position.
    line = "".join(each if each.isprintable() else " " for each in text)
    raise FilterError(f"{problem}\n  {line}\n  {' ' * position}^")


def _position_of(text: str, value: str, kind: str) -> int:
    """The first token of that value and kind, but not a member of something else."""
    before = ""
    for token in Lexer().tokenize(text):
        if token["value"] == value and token["type"].endswith(kind) and before != "dot":
            return int(token["start"])
        before = token["type"]
    return 0
