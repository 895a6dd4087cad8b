"""What is wrong with the options, in words for the person who wrote them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from fleet.bootstrap.layers import MAPPING_FIELDS, RawValue
from fleet.bootstrap.redaction import without_userinfo
from fleet.errors import ConfigurationError

# Their values stay out of every message.
_NEVER_QUOTED = frozenset({"upstream_dsn", "saas_dsn", *MAPPING_FIELDS})
_QUOTED_LENGTH = 80


def configuration_error(problems: Sequence[str]) -> ConfigurationError:
    """All problems as one error."""
    if len(problems) == 1:
        return ConfigurationError(problems[0])
    listed = "\n".join(f"  - {problem}" for problem in problems)
    return ConfigurationError(f"{len(problems)} options are wrong:\n{listed}")


def as_problems(error: ValidationError, given: Mapping[str, RawValue]) -> Iterator[str]:
    """pydantic's findings, each with the place of the value at fault."""
    for finding in error.errors(include_url=False, include_input=False):
        context: dict[str, Any] = finding.get("ctx", {})
        if finding["type"] == "conflict":
            for conflict in context["conflicts"]:
                yield f"{conflict.text} ({_places(conflict.fields, given)})"
            continue
        name = str(finding["loc"][0])
        # pydantic puts "Value error, " before the message of a ValueError.
        message = str(context["error"]) if finding["type"] == "value_error" else finding["msg"]
        message = message.replace("Input should", "should")
        value = given.get(name)
        place = value.place if value is not None else name
        yield f"{place}: {message}{_quoted(name, value)}"


def _places(fields: Sequence[str], given: Mapping[str, RawValue]) -> str:
    return "; ".join(
        f"{name}: {given[name].place if name in given else 'default'}" for name in fields
    )


def _quoted(name: str, value: RawValue | None) -> str:
    if value is None or name in _NEVER_QUOTED:
        return ""
    text = without_userinfo(str(value.raw))
    if len(text) > _QUOTED_LENGTH:
        text = text[:_QUOTED_LENGTH] + "…"
    return f" (got {text!r})"
