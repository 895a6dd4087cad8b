"""From sources to options: which source wins, and what an error says about where it came from.

Precedence: command line, environment, Django settings, file, demonstration, default. Mappings
(``kafka_config`` and its like) merge key by key. Every problem of every source is raised at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from consumer_fleet.bootstrap.config_file import (
    CONFIG_VARIABLE,
    django_layer,
    file_layer,
    find_config,
)
from consumer_fleet.bootstrap.layers import FIELDS, MAPPING_FIELDS, LayerBuilder, RawLayer, RawValue
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.parsing import as_mapping, normalised_key
from consumer_fleet.bootstrap.redaction import without_userinfo
from consumer_fleet.errors import ConfigurationError

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


PREFIX = "CONSUMER_"
# Known by this name to everyone who runs Sentry, so it counts without the prefix too.
_UNPREFIXED = "SENTRY_SDK_UPSTREAM_METRICS_ENABLED"
_NOT_OPTIONS = frozenset({CONFIG_VARIABLE})
# Kubernetes describes every Service of a namespace in such variables: a Service called "consumer"
# would otherwise stop each pod next to it.
_SERVICE_LINK = re.compile(
    r"^CONSUMER_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP)(?:_\w+)?)?)$"
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What every source said, lowest first, as plain data that pickles.

    A worker resolves from its parent's snapshot: a file that changed meanwhile changes nothing.
    """

    layers: tuple[RawLayer, ...] = field(repr=False)  # may hold secrets


@dataclass(frozen=True, slots=True)
class Resolved:
    """Options, where each came from (field → origin), and the snapshot to make them again."""

    options: Options
    origins: dict[str, str]
    snapshot: Snapshot


def resolve_options(
    command_line: Mapping[str, object],
    config: Path | None,
    environ: Mapping[str, str],
    extra_layer: Mapping[str, object] | None = None,
    snapshot: Snapshot | None = None,
) -> Resolved:
    """Read every source and validate; with a snapshot, read no source but that.

    In ``command_line``, None and an empty list mean "not given" (an unset flag is None, not False).
    ``extra_layer`` is what the demonstration brings along; any source beats it. Raises
    ConfigurationError that lists every problem.
    """
    if snapshot is None:
        place = find_config(config, environ)
        snapshot = Snapshot(
            (
                demonstration_layer(extra_layer or {}),
                file_layer(place) if place is not None else RawLayer(),
                django_layer(environ),
                environment_layer(environ),
                command_line_layer(command_line),
            )
        )
    return _resolve(snapshot)


def command_line_layer(command_line: Mapping[str, object]) -> RawLayer:
    """Options by any spelling of their names, as click gives them."""
    builder = LayerBuilder("command line")
    for key, value in command_line.items():
        if value is None or (isinstance(value, list | tuple) and not value):
            continue
        known = normalised_key(key) in FIELDS
        option = f"--{normalised_key(key).replace('_', '-')} (or --set {key})"
        builder.add(key, value, place=option if known else f"--set {key}")
    return builder.layer()


def environment_layer(environ: Mapping[str, str]) -> RawLayer:
    """``CONSUMER_<NAME>``. An empty variable counts as not set: compose files and charts pass on
    what they don't know as empty.

    One Kafka property may have a variable of its own, so that a password can come from a secret
    store: CONSUMER_KAFKA_CONFIG_SASL_PASSWORD is ``sasl.password``.
    """
    builder = LayerBuilder("environment")
    unprefixed = environ.get(_UNPREFIXED)
    if unprefixed and not environ.get(PREFIX + _UNPREFIXED):
        _add_variable(builder, _UNPREFIXED, _UNPREFIXED, unprefixed)
    kafka_prefix = f"{PREFIX}KAFKA_CONFIG_"
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable in _NOT_OPTIONS or not value:
            continue
        if variable.startswith(kafka_prefix):
            property_name = variable.removeprefix(kafka_prefix).lower().replace("_", ".")
            _add_variable(builder, variable, f"kafka_config.{property_name}", value)
        elif not _is_service_link(variable, value):
            _add_variable(builder, variable, variable.removeprefix(PREFIX), value)
    return builder.layer()


def _add_variable(builder: LayerBuilder, variable: str, key: str, value: str) -> None:
    builder.add(
        key,
        value,
        place=f"environment variable {variable}",
        origin=f"environment {variable}",
    )


def _is_service_link(variable: str, value: str) -> bool:
    if normalised_key(variable.removeprefix(PREFIX)) in FIELDS:
        # A Service called consumer-statsd makes a CONSUMER_STATSD_PORT, with a URL as its value.
        return variable.endswith("_PORT") and re.match(r"(?:tcp|udp)://", value) is not None
    return _SERVICE_LINK.match(variable) is not None


def demonstration_layer(values: Mapping[str, object]) -> RawLayer:
    """What the demonstration brings along: its own broker and DSN."""
    builder = LayerBuilder("demonstration")
    for key, value in values.items():
        builder.add(key, value, place=f"demonstration, {key}")
    return builder.layer()


def set_pairs(pairs: Iterable[str]) -> dict[str, object]:
    """``--set NAME=VALUE`` as a mapping for the command line; mappings collect, else the last wins.

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


def _resolve(snapshot: Snapshot) -> Resolved:
    problems = [problem for layer in snapshot.layers for problem in layer.problems]
    winners: dict[str, RawValue] = {}
    values: dict[str, object] = {}
    merged_origins: dict[str, list[str]] = {}
    for raw_value in (value for layer in snapshot.layers for value in layer.values):
        name = raw_value.name
        winners[name] = raw_value
        if name not in MAPPING_FIELDS:
            values[name] = raw_value.raw
            continue
        try:
            pairs = _mapping(raw_value.raw)
        except ValueError as error:
            problems.append(f"{raw_value.place}: {error}")
            continue
        # A new dict: the snapshot's own stays as it was read.
        values[name] = {**_mapping(values.get(name, {})), **pairs}
        merged_origins.setdefault(name, []).insert(0, raw_value.origin)
    try:
        options = Options(**values)  # type: ignore[arg-type]  # raw values; pydantic is what types them
    except ValidationError as error:
        raise configuration_error([*problems, *as_problems(error, winners)]) from None
    if problems:
        raise configuration_error(problems)
    origins = {name: winners[name].origin if name in winners else "default" for name in FIELDS}
    for name, merged in merged_origins.items():
        origins[name] = ", ".join(dict.fromkeys(merged))
    return Resolved(options, origins, snapshot)


def _mapping(raw: object) -> dict[str, str]:
    pairs = as_mapping(raw)
    assert isinstance(pairs, dict)
    return pairs
