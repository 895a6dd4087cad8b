"""From a request to the options, once per process.

Precedence: command line, environment, Django settings, Sentry's settings (SENTRY_CONF),
configuration file, default. Mappings (``kafka_config`` and its like) merge key by key. Every
problem of every source is raised at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from consumer_fleet.bootstrap.config_file import file_layer, find_config
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.parsing import as_mapping, normalised_key
from consumer_fleet.bootstrap.redaction import learn_environment, learn_option, redact
from consumer_fleet.bootstrap.sentry_conf import sentry_layer
from consumer_fleet.bootstrap.sources import (
    FIELDS,
    MAPPING_FIELDS,
    Layer,
    RawValue,
    command_line_layer,
    django_layer,
    environment_layer,
)
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.printable import printable, without_userinfo

# Their values stay out of every message.
_NEVER_QUOTED = frozenset({"upstream_dsn", "saas_dsn", *MAPPING_FIELDS})
_QUOTED_LENGTH = 80


@dataclass(frozen=True, slots=True)
class OptionsRequest:
    """The options that a command line gives, by name, and the configuration file that it names.

    None and an empty list mean "not given" (an unset flag is None, not False).
    """

    given: Mapping[str, object] = field(default_factory=dict, repr=False)  # may hold secrets
    config: Path | None = None

    def adding(self, **options: object) -> OptionsRequest:
        """With further options; those with the value None are not added."""
        added = {name: value for name, value in options.items() if value is not None}
        return OptionsRequest({**self.given, **added}, self.config)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The options, and where each came from (name → origin)."""

    options: Options
    origins: Mapping[str, str]


def resolve_options(request: OptionsRequest, environ: Mapping[str, str] | None = None) -> Resolved:
    """Read every source and validate. ``environ`` is the process's own by default.

    A boot calls it once, in the parent; workers get the options. Raises ConfigurationError that
    lists every problem.
    """
    environ = os.environ if environ is None else environ
    learn_environment(environ)
    layers = (
        file_layer(find_config(request.config, environ)),
        sentry_layer(environ),
        django_layer(environ),
        environment_layer(environ),
        command_line_layer(request.given),
    )
    resolved = _validated(layers)
    for warning in (warning for layer in layers for warning in layer.warnings):
        # The log is set up by these options, so it can't be used yet.
        click.echo(f"consumer: warning: {printable(warning)}", err=True)
    return resolved


def set_pairs(pairs: Iterable[str]) -> dict[str, object]:
    """``--set NAME=VALUE`` as a mapping for a request; mappings collect, else the last wins.

    Raises ConfigurationError where an ``=`` is missing, without the text: it may be a secret.
    """
    values: dict[str, object] = {}
    for number, pair in enumerate(pairs, start=1):
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise ConfigurationError(f"--set number {number}: expected NAME=VALUE")
        if normalised_key(name) in MAPPING_FIELDS:
            collected = values.setdefault(normalised_key(name), [])
            assert isinstance(collected, list)
            collected.append(value)
        else:
            values[name.strip()] = value
    return values


def _validated(layers: Sequence[Layer]) -> Resolved:
    # Before anything is judged: an error must not repeat them either.
    for layer in layers:
        for given in layer.values:
            learn_option(given.raw)
    problems = [problem for layer in layers for problem in layer.problems]
    winners: dict[str, RawValue] = {}
    values: dict[str, object] = {}
    merged_origins: dict[str, list[str]] = {}
    for raw_value in (value for layer in layers for value in layer.values):
        name = raw_value.name
        winners[name] = raw_value
        if name not in MAPPING_FIELDS:
            values[name] = raw_value.raw
            continue
        try:
            pairs = _mapping(raw_value.raw)
        except ValueError as error:
            problems.append(f"{raw_value.location}: {error}")
            continue
        values[name] = {**_mapping(values.get(name, {})), **pairs}
        merged_origins.setdefault(name, []).insert(0, raw_value.origin)
    try:
        options = Options(**values)
    except ValidationError as error:
        raise _configuration_error([*problems, *_problems_of(error, winners)]) from None
    if problems:
        raise _configuration_error(problems)
    origins = {name: winners[name].origin if name in winners else "default" for name in FIELDS}
    for name, merged in merged_origins.items():
        origins[name] = ", ".join(dict.fromkeys(merged))
    return Resolved(options, origins)


def _mapping(raw: object) -> dict[str, str]:
    pairs = as_mapping(raw)
    assert isinstance(pairs, dict)
    return pairs


def _configuration_error(problems: Sequence[str]) -> ConfigurationError:
    if len(problems) == 1:
        return ConfigurationError(redact(problems[0]))
    listed = "\n".join(f"  - {redact(problem)}" for problem in problems)
    return ConfigurationError(f"the configuration has {len(problems)} problems:\n{listed}")


def _problems_of(error: ValidationError, given: Mapping[str, RawValue]) -> Iterator[str]:
    """pydantic's findings, each with the location of the value at fault."""
    for finding in error.errors(include_url=False, include_input=False):
        context: dict[str, Any] = finding.get("ctx", {})
        if finding["type"] == "conflict":
            for conflict in context["conflicts"]:
                yield f"{conflict.text} ({_locations(conflict.fields, given)})"
            continue
        name = str(finding["loc"][0])
        # pydantic puts "Value error, " before the message of a ValueError.
        message = str(context["error"]) if finding["type"] == "value_error" else finding["msg"]
        message = message.replace("Input should", "should")
        value = given.get(name)
        location = value.location if value is not None else name
        yield f"{location}: {message}{_quoted(name, value)}"


def _locations(fields: Sequence[str], given: Mapping[str, RawValue]) -> str:
    return "; ".join(
        f"{name}: {given[name].location if name in given else 'default'}" for name in fields
    )


def _quoted(name: str, value: RawValue | None) -> str:
    if value is None or name in _NEVER_QUOTED:
        return ""
    text = without_userinfo(str(value.raw))
    if len(text) > _QUOTED_LENGTH:
        text = text[:_QUOTED_LENGTH] + "…"
    return f" (got {text!r})"
