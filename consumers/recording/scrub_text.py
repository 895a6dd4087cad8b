"""Personal data and secrets in text, found by what they look like and by what they are called.

The names and patterns follow the defaults of Sentry's own scrubbing (getsentry/relay,
``relay-pii/src/regexes.rs`` and ``convert.rs``), and go further where those keep something.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_address
from typing import Final

from consumers.recording.scrub_credentials import (
    CREDENTIALS,
    FILTERED,
    NAMES_OF_SECRETS,
    Replacement,
)

# Parts of a member's name that say: what stands there tells who somebody is.
_NAMES_OF_A_PERSON: Final = (
    r"e[-_]?mail|phone|mobile[-_]?n|user[-_ ]?name|first[-_ ]?name|last[-_ ]?name|full[-_ ]?name|"
    r"given[-_ ]?name|family[-_ ]?name|surname|nick[-_ ]?name|maiden|birth|ssn|"
    r"social[-_ ]?security|passport|tax[-_ ]?id|street|postal|zip[-_ ]?code|latitude|longitude|"
    r"(client|remote|real|forwarded|source|peer)[-_.]?(ip|addr|address|for|host)\b|"
    r"ip[-_]?addr|\bip\b|user[-_.]ip|device[-_ ]?name|host[-_ ]?name|server[-_ ]?name"
)
_SENSITIVE_NAME: Final = re.compile(f"{NAMES_OF_SECRETS}|{_NAMES_OF_A_PERSON}", re.IGNORECASE)
# Names that those parts occur in, of members that an event can't do without.
_PLAIN_NAMES: Final = frozenset({"authors", "author", "sessions", "session_id_kind", "in_app"})

_IPV4: Final = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6: Final = re.compile(
    r"(?<![\w:])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F.]{0,15}(?:%\w+)?(?![\w:])"
)
_CARD: Final = re.compile(
    r"(?<![\w.-])(?:3[47]\d|4\d{3}|5[1-5]\d\d|2[2-7]\d\d|65\d\d|6011)(?:[- ]?\d){12}(?![\w-])"
)

# Keys that say nothing of a person: a number (a project's), an id.
_PLAIN_KEY: Final = re.compile(
    rb"\d{1,19}|[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
)


def _ip_or_not(match: re.Match[str]) -> str:
    try:
        ip_address(match[0].partition("%")[0])
    except ValueError:
        return match[0]
    return "[ip]"


_PATTERNS: Final[tuple[tuple[re.Pattern[str], Replacement], ...]] = (
    *CREDENTIALS,
    (
        # Begun at the start of a word only: a long one without an @ is not tried again and again.
        re.compile(
            r"(?<![\w.!#$%&'*+/=?^`{|}~-])[\w.!#$%&'*+/=?^`{|}~-]+(?:@|%40)"
            r"[\w-]+(?:\.[\w-]+)*\.[^\W\d_]{2,}"
        ),
        "[email]",
    ),
    (_CARD, "[card]"),
    (re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), "[iban]"),
    (re.compile(r"\b\d{3}-\d{2}-\d{4}\b"), "[ssn]"),
    (re.compile(r"\b(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\b"), "[mac]"),
    (_IPV6, _ip_or_not),
    (_IPV4, _ip_or_not),
    # The name in a home directory.
    (re.compile(r"((?:^|[/\\])(?:home|users|documents and settings)[/\\]+)[^/\\\s:\"'<>]+",
                re.IGNORECASE), r"\1[user]"),
)  # fmt: skip

_SHORT: Final = 300  # characters: what is remembered stays below some ten megabytes

# Without one of these no pattern matches: most strings of an event are names without any.
_WORTH_A_LOOK: Final = re.compile(
    r"[@:=/\\%_<&]|\d\.?\d|--|[0-9a-f]{2}-|eyJ|AKIA|ASIA|AIza|[sg]\w{1,4}-|xox|xapp|pypi-"
    r"|SG\.|hv[bs]\.|[\"'`]\s*,|(?:passw|\sby\s|basic|bearer|token|digest|negotiate|ntlm)",
    re.IGNORECASE,
)


def scrub_text(text: str) -> str:
    """The text without what is recognised in it."""
    if _WORTH_A_LOOK.search(text) is None:
        return text
    return _remembered(text) if len(text) <= _SHORT else _replace_matches(text)


def _replace_matches(text: str) -> str:
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


# Modules, file names and lines of source come again and again.
_remembered: Final = lru_cache(maxsize=20_000)(_replace_matches)


def scrub_number(number: float) -> float:
    """A whole number that reads as a payment card's becomes 0."""
    if isinstance(number, int) and number > 10**14 and _CARD.fullmatch(str(number)):
        return 0
    return number


@lru_cache(maxsize=10_000)
def scrub_name(name: str) -> str:
    """A member's name: the same ones come again and again."""
    return scrub_text(name)


@lru_cache(maxsize=10_000)
def is_sensitive_name(name: str) -> bool:
    """Whether the name alone says that its value must go."""
    return name.lower() not in _PLAIN_NAMES and _SENSITIVE_NAME.search(name) is not None


def pseudonym(value: object, prefix: str) -> str:
    """The same for the same value, at any time and anywhere."""
    digest = blake2b(repr(value).encode(errors="replace"), digest_size=8, person=b"consumer-fleet")
    return f"{prefix}-{digest.hexdigest()}"


def scrub_key(key: bytes | None) -> bytes | None:
    """None and empty stay; the same key stays the same as another one."""
    if not key or _PLAIN_KEY.fullmatch(key):
        return key
    if len(key) == 16 and not key.isascii():
        return blake2b(key, digest_size=16).digest()
    return pseudonym(key, "key").encode()


def scrub_header(name: str, value: str | bytes | None) -> str | bytes | None:
    if not value:
        return value
    if is_sensitive_name(name):
        return FILTERED.encode()
    try:
        text = value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return FILTERED.encode()
    return scrub_text(text).encode()
