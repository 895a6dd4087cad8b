"""One source's options as plain data: what it says, and where, before anything is validated."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.parsing import normalised_key

FIELDS = tuple(Options.model_fields)
# These merge key by key over the sources, and take keys of their own: kafka_config.sasl.mechanism.
MAPPING_FIELDS = ("kafka_config", "metrics_tags", "snuba_topic_map")


@dataclass(frozen=True, slots=True)
class RawValue:
    """One option as its source gives it. ``origin`` is for display, ``place`` for errors."""

    name: str
    origin: str
    place: str
    raw: object = field(repr=False)  # may be a secret


@dataclass(frozen=True, slots=True)
class RawLayer:
    """One source. ``problems`` (unknown or repeated keys) are raised together with all others."""

    values: tuple[RawValue, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class LayerBuilder:
    """Collects one source's options; an unknown option, or one given twice, is a problem."""

    origin: str
    _values: dict[tuple[str, str | None], RawValue] = field(default_factory=dict)
    _problems: list[str] = field(default_factory=list)

    def add(self, key: str, raw: object, place: str, origin: str | None = None) -> None:
        """Take one option. A value of None means "not given": lower sources then count."""
        target = _target(key)
        if target is None:
            self._problems.append(f"{place}: unknown option{suggestion(key)}")
            return
        name, subkey = target
        if target in self._values:
            self._problems.append(f"{place}: {name} is given twice ({self._values[target].place})")
            return
        try:
            plain = _plain(raw)
        except TypeError as error:
            self._problems.append(f"{place}: {error}")
            return
        if plain is not None:
            value = plain if subkey is None else {subkey: plain}
            self._values[target] = RawValue(name, origin or self.origin, place, value)

    def layer(self) -> RawLayer:
        """What was collected; single keys of a mapping last, so that they win over the whole."""
        ordered = sorted(self._values.items(), key=lambda item: item[0][1] is not None)
        return RawLayer(tuple(value for _, value in ordered), tuple(self._problems))


def suggestion(key: str) -> str:
    """``; did you mean …?``, or nothing where no option's name is close."""
    close = difflib.get_close_matches(normalised_key(key), FIELDS, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _target(key: str) -> tuple[str, str | None] | None:
    """The field a key names and, for a mapping field, the key inside it."""
    name = normalised_key(key)
    if name in FIELDS:
        return name, None
    for mapping in MAPPING_FIELDS:
        subkey = key.strip()[len(mapping) + 1 :]
        if name.startswith(f"{mapping}_") and subkey:
            return mapping, subkey
    return None


def _plain(value: object) -> object:
    """A deep copy made of built-in types only: it pickles, and shares nothing with its source."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, PathLike):
        return fspath(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    raise TypeError(f"expected text, a number, a list or a mapping, not {type(value).__name__}")
