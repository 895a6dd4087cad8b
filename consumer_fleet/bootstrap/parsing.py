"""The text forms of options: how they are read from any source, and shown without secrets.

The functions that read are pydantic validators: they turn a text form into the field's own type,
pass other values on for pydantic to judge, and raise ``ValueError`` that names the
expected form and never repeats the value (it may be a secret).
"""

from __future__ import annotations

import json
import re
from dataclasses import fields

from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.items import ITEMS
from consumer_fleet.capture.options import ProjectOptions
from consumer_fleet.humanize import did_you_mean
from consumer_fleet.printable import REDACTED, without_userinfo

# A comma separates pairs only where another key follows, so that a value may hold commas:
# ``bootstrap.servers=a:9092,b:9092,security.protocol=SSL``.
# A new line does where a key with a dot follows, as in a file of properties: PEM has none.
PAIR_SEPARATOR = re.compile(
    r",(?=\s*[A-Za-z0-9_.\-]+=)|[\r\n]+(?=\s*[a-z][a-z0-9_\-]*(?:\.[a-z0-9_\-]+)+\s*=)"
)
# A protocol prefix and brackets around an IPv6 address are librdkafka's own notation.
_BROKER = re.compile(
    r"^(?:[A-Za-z_]+://)?(?:[A-Za-z0-9_.\-]+|\[[0-9A-Fa-f:.%]+\]):(?P<port>[0-9]{1,5})$"
)

_LISTEN_ADDRESS = re.compile(
    r"(?:(?P<host>[A-Za-z0-9_.\-]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>[0-9]{1,5})"
)

TOPIC_MAX_CHARS = 249

# librdkafka properties that hold a credential, or the way to one. The user name is hidden too: for
# several providers it is half of an API key.
_SECRET_PROPERTY = re.compile(r"password|secret|passphrase|token|key\.pem|^sasl\.|oauthbearer")
# Part of the ``sasl.`` family, but needed to diagnose a refused login and never secret.
_OPEN_PROPERTIES = frozenset({"sasl.mechanism", "sasl.mechanisms"})


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


def distinct(items: tuple[str, ...]) -> tuple[str, ...]:
    """The items, each once."""
    return tuple(dict.fromkeys(items))


def as_mapping(value: object) -> object:
    """``k=v,k=v``, a JSON object, a list of such pairs, or a mapping, as a flat mapping of text."""
    if isinstance(value, str):
        value = _mapping_of_text(value)
    if isinstance(value, list | tuple):
        pairs = (pair for entry in value for pair in split_pairs(str(entry)))
        value = dict(_pair(pair) for pair in pairs)
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
    return split_pairs(text)


def split_pairs(text: str) -> list[str]:
    """``k=v,k=v`` as its pairs."""
    return [pair for pair in PAIR_SEPARATOR.split(text) if pair.strip()]


def _pair(entry: str) -> tuple[str, str]:
    key, equals, value = entry.partition("=")
    if not equals or not key.strip():
        raise ValueError("expected pairs like key=value, comma-separated, or a JSON object")
    return key.strip(), value.strip()


def _flattened(mapping: dict[object, object], prefix: str = "") -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in mapping.items():
        if isinstance(value, dict) and value:
            pairs += _flattened(value, f"{prefix}{key}.")
        elif isinstance(value, bool):
            # librdkafka writes booleans in lower case.
            pairs.append((f"{prefix}{key}", str(value).lower()))
        elif isinstance(value, str | int | float):
            pairs.append((f"{prefix}{key}", str(value)))
        elif isinstance(value, list) and str(key).endswith("_drop_items"):
            pairs.append((f"{prefix}{key}", ",".join(map(str, value))))
        else:
            raise ValueError(f"key {prefix}{key} should hold text or a number")
    return pairs


def as_dsn(value: object) -> object:
    """A DSN from its text."""
    return Dsn.parse(value) if isinstance(value, str) else value


def as_projects(value: object) -> object:
    """Projects and their destinations: ``42.upstream`` is the DSN for project 42, and so on."""
    if isinstance(value, dict) and all(isinstance(e, ProjectOptions) for e in value.values()):
        return value
    pairs = as_mapping(value)
    assert isinstance(pairs, dict)
    found: dict[int, dict[str, object]] = {}
    for key, text in pairs.items():
        number, _, member = key.partition(".")
        if re.fullmatch("[1-9][0-9]{0,18}", number) is None:
            # Not shown: it may be a DSN whose colon was taken for the key's end.
            raise ValueError("a key is not the number of a project: expected 42.upstream, …")
        of_project = found.setdefault(int(number), {})
        if member or text != "default":
            of_project[member] = _project_member(f"{number}.{member}", member, text)
    return {number: ProjectOptions(**members) for number, members in found.items()}  # type: ignore[arg-type]


def _project_member(key: str, member: str, text: str) -> object:
    known = [each.name for each in fields(ProjectOptions)]
    if member not in known:
        raise ValueError(f"key {key[:40]} is unknown: a project has {', '.join(known)}")
    try:
        if member in ("upstream", "saas"):
            return Dsn.parse(text)
        if member == "key":
            return text
        return frozenset(
            item_types(tuple(each.strip() for each in text.split(",") if each.strip()))
        )
    except ValueError as error:
        raise ValueError(f"key {key}: {error}") from None


def lower(value: object) -> object:
    """Choices are written in any case."""
    return value.strip().lower() if isinstance(value, str) else value


def item_types(values: tuple[str, ...]) -> tuple[str, ...]:
    """Types of items that this version knows: a misspelt one would drop nothing."""
    for value in values:
        if value not in ITEMS:
            hint = did_you_mean(value, ITEMS)
            raise ValueError(f"{value!r} is not an item type{hint} Known are {', '.join(ITEMS)}")
    return values


def topic_name(value: str) -> str:
    """A name that Kafka takes for a topic."""
    if value in (".", "..") or re.fullmatch(r"[A-Za-z0-9._\-]+", value) is None:
        raise ValueError("expected letters, digits, dots, dashes and underscores, as Kafka does")
    if len(value) > TOPIC_MAX_CHARS:
        raise ValueError(f"has {len(value)} characters; Kafka takes {TOPIC_MAX_CHARS} at most")
    return value


def broker(value: str) -> str:
    """One ``host:port``."""
    match = _BROKER.match(value)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise ValueError("expected host:port, for example kafka-1:9092")
    return value


def listen_address(value: str) -> str:
    """``HOST:PORT``, of ``PORT`` too, which is on loopback. Port 0 is any free one."""
    match = _LISTEN_ADDRESS.fullmatch(value.strip())
    if match is None or int(match["port"]) > 65535:
        raise ValueError("expected PORT or HOST:PORT, for example 8791 or 0.0.0.0:8791")
    return f"{match['host'] or '127.0.0.1'}:{match['port']}"


def http_url(value: str) -> str:
    """An ``http://`` or ``https://`` URL with a host, in ASCII; a trailing slash is dropped."""
    value = value.strip()
    if re.fullmatch(r"https?://(?![/?#])[!-~]+", value) is None:
        raise ValueError("expected an http:// or https:// URL, for example http://snuba-api:1218")
    return value.rstrip("/")


def is_secret_property(name: str) -> bool:
    """Whether the value of this key of ``kafka_config`` must not be shown."""
    lowered = name.lower()
    return lowered not in _OPEN_PROPERTIES and _SECRET_PROPERTY.search(lowered) is not None


def shown(name: str, value: object) -> object:
    """The value of option ``name`` as plain data, fit to be printed or written as JSON."""
    redacted = getattr(value, "redacted", value)
    if redacted is None or isinstance(redacted, bool | int | float):
        return redacted
    if isinstance(value, ProjectOptions):
        value = value.given
    if isinstance(value, dict):
        return {
            str(key): REDACTED
            if name == "kafka_config" and is_secret_property(key)
            else shown(name, item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_userinfo(str(item)) for item in value]
    return redacted if redacted is not value else without_userinfo(str(value))
