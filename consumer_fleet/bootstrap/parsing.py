"""How an option is written as text: on the command line, in the environment, in a file.

Every function here is a pydantic "before" validator: it turns a text form into the field's own
type, passes other values on for pydantic to judge, and raises ``ValueError`` with a message that
says what is expected and never repeats the value (it may be a secret).
"""

from __future__ import annotations

import json
import re

from consumer_fleet.capture.dsn import Dsn

# A comma separates pairs only where another key follows, so that a value may hold commas:
# ``bootstrap.servers=a:9092,b:9092,security.protocol=SSL``.
_PAIR_SEPARATOR = re.compile(r",(?=\s*[A-Za-z0-9_.\-]+=)")
# A protocol prefix and brackets around an IPv6 address are librdkafka's own notation.
_BROKER = re.compile(
    r"^(?:[A-Za-z_]+://)?(?:[A-Za-z0-9_.\-]+|\[[0-9A-Fa-f:.%]+\]):(?P<port>[0-9]{1,5})$"
)


def normalised_key(key: str) -> str:
    """The field that a key names: case, dots and dashes make no difference."""
    return key.strip().lower().replace(".", "_").replace("-", "_")


def as_items(value: object) -> object:
    """``a,b`` or a list whose items may themselves be ``a,b``, as a tuple of items."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    items: list[object] = []
    for entry in value:
        if isinstance(entry, str):
            items += [part.strip() for part in entry.split(",") if part.strip()]
        else:
            items.append(entry)
    return tuple(items)


def as_mapping(value: object) -> object:
    """``k=v,k=v``, a JSON object, a list of ``k=v``, or a mapping, as a flat mapping of text."""
    if isinstance(value, str):
        value = _mapping_of_text(value)
    if isinstance(value, list | tuple):
        value = dict(_pair(entry) for entry in value)
    if not isinstance(value, dict):
        raise ValueError("expected pairs like key=value, or a mapping")  # noqa: TRY004 - pydantic turns only ValueError into an error of the field
    return dict(_flattened(value))


def _mapping_of_text(text: str) -> object:
    text = text.strip()
    if text.startswith("{"):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            # ``from None``: the original holds the whole text, which may hold a password.
            raise ValueError(f"not valid JSON at column {error.colno}: {error.msg}") from None
    return [pair for pair in _PAIR_SEPARATOR.split(text) if pair.strip()]


def _pair(entry: object) -> tuple[str, str]:
    key, equals, value = str(entry).partition("=")
    if not equals or not key.strip():
        raise ValueError("expected pairs like key=value, comma-separated, or a JSON object")
    return key.strip(), value.strip()


def _flattened(mapping: dict[object, object], prefix: str = "") -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in mapping.items():
        if isinstance(value, dict):
            pairs += _flattened(value, f"{prefix}{key}.")
        elif isinstance(value, bool):
            # librdkafka writes booleans in lower case.
            pairs.append((f"{prefix}{key}", str(value).lower()))
        elif isinstance(value, str | int | float):
            pairs.append((f"{prefix}{key}", str(value)))
        else:
            raise ValueError(f"key {prefix}{key} should hold text or a number")  # noqa: TRY004 - as above
    return pairs


def as_dsn(value: object) -> object:
    """A DSN from its text."""
    return Dsn.parse(value) if isinstance(value, str) else value


def lower(value: object) -> object:
    """Choices are written in any case."""
    return value.strip().lower() if isinstance(value, str) else value


def broker(value: str) -> str:
    """One ``host:port``."""
    match = _BROKER.match(value)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise ValueError("expected host:port, for example kafka-1:9092")
    return value


def http_url(value: str) -> str:
    """An ``http://`` or ``https://`` URL with a host, in ASCII; a trailing slash is dropped."""
    value = value.strip()
    if re.fullmatch(r"https?://(?![/?#])[!-~]+", value) is None:
        raise ValueError("expected an http:// or https:// URL, for example http://snuba-api:1218")
    return value.rstrip("/")
