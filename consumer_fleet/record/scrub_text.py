"""Finds personal data and secrets in text, by their form and by their names.

The names and patterns follow the defaults of Sentry's own scrubbing (getsentry/relay,
``relay-pii/src/regexes.rs`` and ``convert.rs``), and go further where those keep something.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_address
from typing import Final, TypeAlias

FILTERED: Final = "[Filtered]"

Replacement: TypeAlias = str | Callable[[re.Match[str]], str]

# Parts of a name that mark its value as a secret.
NAMES_OF_SECRETS: Final = (
    r"password|passwd|passphrase|pwd|(?<![a-z])(?:pass|pw)(?![a-z])|(?-i:(?<=[a-z])Pass(?![a-z]))|"
    r"secret|credential|token|api[-_ ]?key|apikey|auth|(?:private|access|encryption|account|"
    r"signing|master|sentry)[-_ ]?key|signature|cookie|session(?!s$)|sess[-_]?id|csrf|xsrf|jwt|"
    r"bearer|otp|two[-_]?factor|passcode|(?:pin|security)[-_ ]?code|cvv|cvc|card[-_]?(?:number|no)|"
    r"credit[-_ ]?card|iban"
)
_NAME: Final = rf"(?:{NAMES_OF_SECRETS})[\w.-]{{0,40}}"

# A possessive quantifier follows single characters only, in all of these patterns: before 3.11.5,
# Python also took the beginning of the repetition of a group that failed.

# Plain quotes, and quotes escaped for JSON in JSON, for a URL and for HTML.
_MARKED_QUOTE: Final = r"(?<!\\)\\+(?:[\"'`]|u002[27])|%22|%27|&quot;|&\#(?:34|0?39);"
_ANY_QUOTE: Final = rf"(?:[\"'`]|{_MARKED_QUOTE})"
_ENDS_NAME: Final = rf"(?:{_ANY_QUOTE}|[\[\]]|%5[BD]){{0,3}}"
_IS: Final = r"\s*(?:[:=]{1,3}(?:>|&gt;)?|%(?:25)?3[AD]|\\+u003[ad])\s*"

# A value that begins in a text that is cut extends to the end of the text. A quote before one of
# these characters begins nothing.
_CUT: Final = r"(?![\s,;:.)\]}])[\s\S]*\Z"


def _quoted(group: str = "quote") -> str:
    """Text in quotes. A pattern may use a group's name only once."""
    return (
        # The prefix of a literal, as in b'…'.
        r"(?:(?:[bfru@$&]|br|rb)?(?:"
        rf"\"(?:[^\"\\]*+(?:\\[\s\S][^\"\\]*+)*\"|{_CUT})"
        rf"|'(?:[^'\\]*+(?:\\[\s\S][^'\\]*+)*'|{_CUT})"
        rf"|(?P<{group}>{_MARKED_QUOTE}|`)(?:[\s\S]*?(?<!\\)(?P={group})|{_CUT})"
        r"))"
    )


def _bracketed(opening: str, closing: str, depth: int = 5) -> str:
    """Text in nested brackets; to the end if the text is cut."""
    between = rf"[^{opening}{closing}]*+"
    inner = pattern = ""
    for _ in range(depth):
        pattern = rf"{opening}{between}{inner}{closing}"
        inner = rf"(?:{pattern}{between})*"
    return rf"{pattern}|{opening}[^\[\]{{}}]*\Z"


_BARE: Final = r"(?:[^\s,;&\"'`}\])\\]++|\\++(?![\"'`]))+"
_IN_BRACKETS: Final = "|".join([_bracketed(r"\[", r"\]"), _bracketed(r"\{", r"\}")])
# Bare and quoted, as in Some("…") and SecretStr(value='…').
_VALUE: Final = rf"(?:{_quoted()}|{_IN_BRACKETS}|{_BARE}(?:(?<=[(=]){_quoted('inner')})?)"

_SCHEME: Final = r"(?:basic|bearer|digest|negotiate|ntlm|token|sentry|apikey|hawk|oauth|aws4[\w-]*)"
_PARAMETER: Final = r"[\w.-]{1,40}=(?:\\*\"[^\"\r\n]*\"|[^\s,\"'`<>\\]*)"

_URL: Final = r"(?<![\w+.-])(?!webpack)[a-z][a-z0-9+.-]{0,20}+:(?:\\*+/){2}"
_NO_URL: Final = r"\s\"'<>"


def _basic_or_not(match: re.Match[str]) -> str:
    """Filter a login: base64 of text with a colon. "basic" is an English word, too."""
    try:
        login = b64decode(match[2] + "===", b"-_" if re.search("[-_]", match[2]) else None).decode()
    except ValueError:
        return match[0]
    return f"{match[1]}{FILTERED}" if ":" in login else match[0]


def _case(pattern: str, replacement: Replacement) -> tuple[re.Pattern[str], Replacement]:
    return re.compile(pattern, re.IGNORECASE), replacement


# The order matters: long and marked values come before those that may be a part of them.
CREDENTIALS: Final[tuple[tuple[re.Pattern[str], Replacement], ...]] = (
    (re.compile(r"-----BEGIN [A-Z\d ]{1,60}-----.*?(?:-----END [A-Z\d ]+-----|\Z)", re.DOTALL),
     "[pem]"),
    (re.compile(r"\beyJ[\w-]{5,2000}+\.[\w-]++\.[\w-]*"), "[token]"),
    # Authorization: SCHEME …, with its parameters.
    _case(
        rf"(auth(?:orization{_ENDS_NAME}{_IS}|{_ENDS_NAME}{_IS}(?={_SCHEME}\s)))(?!\[Filtered)"
        rf"[^\s,;\"'`<>\\{{\[]+(?:(?:\r?\n)?[ \t]+(?:{_PARAMETER}|[^\s,\"'`<>\\]+)"
        rf"(?:,\s*{_PARAMETER})*)?",
        rf"\1{FILTERED}",
    ),
    # Cookie: to the end of the line or of the quotes.
    _case(
        rf"(cookie[\w.-]{{0,40}}{_ENDS_NAME}\s*:\s*(?![\s\"'`\\{{\[]))"
        r"(?:=\\*\"[^\"\r\n]*\"|[^\r\n\"'`\\=]++|=|'(?=[\w;=%.-]))+",
        rf"\1{FILTERED}",
    ),
    _case(
        rf"(cookie[\w.-]{{0,40}}{_ENDS_NAME}\s*=\s*)(?=[^\s\"'`\\=>\[{{]){_BARE}"
        r"(?:;\s*[\w.-]+=[^\s;,\"'`&\\]*)*",
        rf"\1{FILTERED}",
    ),
    _case(r"\b(basic\s+)([\w+/-]{4,}+)={0,2}", _basic_or_not),
    # "token" is an English word, too: the value after it must not look like a word.
    _case(
        r"\b(bearer|(?:basic|token|digest|negotiate|ntlm)(?=\s+\S*[\d=]))\s+[\w.~+/=:-]{6,}",
        rf"\1 {FILTERED}",
    ),
    (
        re.compile(
            r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{30,}|\bgh[oprsu]_\w{20,}"
            r"|\bgithub_pat_\w{20,}|\bgl[a-z]{2,4}-[\w-]{20,}|\bsntry[a-z]{1,2}_[\w.=+/-]{20,}"
            r"|\bx(?:ox[a-z]|app)-[\w-]{10,}|\b[rsp]k_(?:live|test)_\w{10,}|\bwhsec_[\w+/=]{10,}"
            r"|\bsk-[\w-]{20,}|\bya29\.[\w-]{20,}|\bSG\.[\w-]{10,60}\.[\w-]{10,}"
            r"|\b(?:npm|hf|shp(?:at|ca|pa|ss)|dop_v1)_[A-Za-z0-9]{30,}|\bpypi-[\w-]{20,}"
            r"|\bhv[bs]\.[\w-]{20,}"
        ),
        "[token]",
    ),
    _case(r"(\bhooks\.slack\.com/(?:services|workflows)/|\bdiscord(?:app)?\.com/api/webhooks/)"
          r"[\w/-]+", r"\1[token]"),
    # scheme://user:password@host; a password may contain any of /?#@.
    _case(
        rf"({_URL})(?:[^{_NO_URL}/?#]+|[^{_NO_URL}/?#:@]{{0,200}}+:(?!\d{{1,5}}[/?#])"
        rf"[^{_NO_URL}]{{1,200}})@",
        rf"\1{FILTERED}@",
    ),
    _case(r"(?<![\w.+-])[\w.+-]{1,64}+:[^\s\"'<>]{1,200}@(?=(?:tcp|udp|unix)\()", f"{FILTERED}@"),
    # A URL's query and fragment.
    _case(
        rf"({_URL}[^{_NO_URL}?#]{{0,2000}}+)[?#](?:[^{_NO_URL}\\]++|\\++(?![\"'`]))*",
        rf"\1?{FILTERED}",
    ),
    # <password>…</password>
    _case(rf"(<[\w.:-]{{0,40}}?{_NAME}(?:\s[^<>]{{0,300}})?>(?:<!\[CDATA\[)?)[^<]++(?=</)",
          rf"\1{FILTERED}"),
    # name="password" value="…", and so in JSON
    _case(
        rf"(\b(?:name|key){_ENDS_NAME}{_IS}{_ANY_QUOTE}[\w.-]{{0,40}}?{_NAME}{_ANY_QUOTE}[\s,;]{{0,9}}"
        rf"{_ANY_QUOTE}?value{_ENDS_NAME}{_IS}){_VALUE}",
        rf"\1{FILTERED}",
    ),
    # ('password', '…') and '--password', '…'
    _case(
        rf"((?:[(\[]\s*[bu]?{_ANY_QUOTE}[\w .-]{{0,40}}?|{_ANY_QUOTE}--?[\w-]{{0,40}}?){_NAME}"
        rf"{_ANY_QUOTE}\s*,\s*){_quoted()}",
        rf"\1{FILTERED}",
    ),
    # --password …
    _case(rf"((?<![\w-])--?[\w-]{{0,40}}?{_NAME}[ \t]+)(?!-){_VALUE}", rf"\1{FILTERED}"),
    # PASSWORD '…', in SQL
    _case(rf"(\b(?:password|identified\s+by)\s+){_quoted()}", rf"\1{FILTERED}"),
    # password=… and "password": "…", in any notation around them.
    _case(
        rf"({_NAME}(?:[ ](?:key|id|value|code|hash|string))?{_ENDS_NAME}{_IS}){_VALUE}",
        rf"\1{FILTERED}",
    ),
)  # fmt: skip

# Parts of a member's name that mark its value as personal.
_NAMES_OF_A_PERSON: Final = (
    r"e[-_]?mail|phone|mobile[-_]?n|user[-_ ]?name|first[-_ ]?name|last[-_ ]?name|full[-_ ]?name|"
    r"given[-_ ]?name|family[-_ ]?name|surname|nick[-_ ]?name|maiden|birth|ssn|"
    r"social[-_ ]?security|passport|tax[-_ ]?id|street|postal|zip[-_ ]?code|latitude|longitude|"
    r"(client|remote|real|forwarded|source|peer)[-_.]?(ip|addr|address|for|host)\b|"
    r"ip[-_]?addr|\bip\b|user[-_.]ip|device[-_ ]?name|host[-_ ]?name|server[-_ ]?name"
)
_SENSITIVE_NAME: Final = re.compile(f"{NAMES_OF_SECRETS}|{_NAMES_OF_A_PERSON}", re.IGNORECASE)
# Names that contain such a part, of members that an event needs.
_PLAIN_NAMES: Final = frozenset({"authors", "author", "sessions", "session_id_kind", "in_app"})

_IPV4: Final = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6: Final = re.compile(
    r"(?<![\w:])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F.]{0,15}(?:%\w+)?(?![\w:])"
)
_CARD: Final = re.compile(
    r"(?<![\w.-])(?:3[47]\d|4\d{3}|5[1-5]\d\d|2[2-7]\d\d|65\d\d|6011)(?:[- ]?\d){12}(?![\w-])"
)

# Keys that are not personal: a number (a project's), an id.
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
        # Only from the start of a word: a long word without an @ is not tried at each character.
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

_SHORT: Final = 300  # characters: the cache stays below some ten megabytes

# No pattern matches without one of these, and most strings of an event have none of them.
_WORTH_A_LOOK: Final = re.compile(
    r"[@:=/\\%_<&]|\d\.?\d|--|[0-9a-f]{2}-|eyJ|AKIA|ASIA|AIza|[sg]\w{1,4}-|xox|xapp|pypi-"
    r"|SG\.|hv[bs]\.|[\"'`]\s*,|(?:passw|\sby\s|basic|bearer|token|digest|negotiate|ntlm)",
    re.IGNORECASE,
)


def scrub_text(text: str) -> str:
    """Replace everything that is recognised in the text."""
    if _WORTH_A_LOOK.search(text) is None:
        return text
    return _remembered(text) if len(text) <= _SHORT else _replace_matches(text)


def _replace_matches(text: str) -> str:
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


# Modules, file names and lines of source repeat.
_remembered: Final = lru_cache(maxsize=20_000)(_replace_matches)


def scrub_number(number: float) -> float:
    """Replace a whole number that looks like a payment card's by 0."""
    if isinstance(number, int) and number > 10**14 and _CARD.fullmatch(str(number)):
        return 0
    return number


@lru_cache(maxsize=10_000)
def scrub_name(name: str) -> str:
    """``scrub_text`` of a member's name; cached, since names repeat."""
    return scrub_text(name)


@lru_cache(maxsize=10_000)
def is_sensitive_name(name: str) -> bool:
    """Whether the name alone marks its value as secret or personal."""
    return name.lower() not in _PLAIN_NAMES and _SENSITIVE_NAME.search(name) is not None


def pseudonym(value: object, prefix: str) -> str:
    """A name that is the same for the same value, at any time and on any machine."""
    digest = blake2b(repr(value).encode(errors="replace"), digest_size=8, person=b"consumer-fleet")
    return f"{prefix}-{digest.hexdigest()}"


def scrub_key(key: bytes | None) -> bytes | None:
    """Replace a key so that equal keys stay equal; None, empty, numbers and ids stay."""
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
