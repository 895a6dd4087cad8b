"""Credentials in text: what they look like, and what stands before them.

The text may be anything: a header, a URL, source, a literal of some language, JSON in JSON at any
depth of escaping, and it may be cut in the middle of a value. Every repetition here is possessive
or bounded, so that no text takes more time than its length and a small factor.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from typing import Final, TypeAlias

FILTERED: Final = "[Filtered]"

Replacement: TypeAlias = str | Callable[[re.Match[str]], str]

# Parts of a name that say: what stands there is a secret.
NAMES_OF_SECRETS: Final = (
    r"password|passwd|passphrase|pwd|(?<![a-z])(?:pass|pw)(?![a-z])|(?-i:(?<=[a-z])Pass(?![a-z]))|"
    r"secret|credential|token|api[-_ ]?key|apikey|auth|(?:private|access|encryption|account|"
    r"signing|master|sentry)[-_ ]?key|signature|cookie|session(?!s$)|sess[-_]?id|csrf|xsrf|jwt|"
    r"bearer|otp|two[-_]?factor|passcode|(?:pin|security)[-_ ]?code|cvv|cvc|card[-_]?(?:number|no)|"
    r"credit[-_ ]?card|iban"
)
_NAME: Final = rf"(?:{NAMES_OF_SECRETS})[\w.-]{{0,40}}"

# Quotes as they are, escaped for JSON in JSON, for a URL and for HTML.
_MARKED_QUOTE: Final = r"(?<!\\)\\+(?:[\"'`]|u002[27])|%22|%27|&quot;|&\#(?:34|0?39);"
_ANY_QUOTE: Final = rf"(?:[\"'`]|{_MARKED_QUOTE})"
_ENDS_NAME: Final = rf"(?:{_ANY_QUOTE}|[\[\]]|%5[BD]){{0,3}}"
_IS: Final = r"\s*(?:[:=]{1,3}(?:>|&gt;)?|%(?:25)?3[AD]|\\+u003[ad])\s*"

# Where the text is cut, what was begun goes to its end. A quote before these begins nothing.
_CUT: Final = r"(?![\s,;:.)\]}])[\s\S]*\Z"


def _quoted(group: str = "quote") -> str:
    """Text in quotes. A group's name may stand in a pattern once."""
    return (
        # A letter before it is that of a literal, as in b'…'.
        r"(?:(?:[bfru@$&]|br|rb)?(?:"
        rf"\"(?:(?:[^\"\\]|\\[\s\S])*+\"|{_CUT})"
        rf"|'(?:(?:[^'\\]|\\[\s\S])*+'|{_CUT})"
        rf"|(?P<{group}>{_MARKED_QUOTE}|`)(?:[\s\S]*?(?<!\\)(?P={group})|{_CUT})"
        r"))"
    )


def _bracketed(opening: str, closing: str, depth: int = 5) -> str:
    """What stands in brackets, others of that kind in it; to the end where the text is cut."""
    between = rf"[^{opening}{closing}]*+"
    inner = pattern = ""
    for _ in range(depth):
        pattern = rf"{opening}{between}{inner}{closing}"
        inner = rf"(?:{pattern}{between})*+"
    return rf"{pattern}|{opening}[^\[\]{{}}]*\Z"


_BARE: Final = r"(?:[^\s,;&\"'`}\])\\]|\\++(?![\"'`]))++"
_IN_BRACKETS: Final = "|".join([_bracketed(r"\[", r"\]"), _bracketed(r"\{", r"\}")])
# Bare and quoted, as in Some("…") and SecretStr(value='…').
_VALUE: Final = rf"(?:{_quoted()}|{_IN_BRACKETS}|{_BARE}(?:(?<=[(=]){_quoted('inner')})?)"

_SCHEME: Final = r"(?:basic|bearer|digest|negotiate|ntlm|token|sentry|apikey|hawk|oauth|aws4[\w-]*)"
_PARAMETER: Final = r"[\w.-]{1,40}=(?:\\*\"[^\"\r\n]*\"|[^\s,\"'`<>\\]*)"

_URL: Final = r"(?<![\w+.-])(?!webpack)[a-z][a-z0-9+.-]{0,20}+:(?:\\*+/){2}"
_NO_URL: Final = r"\s\"'<>"


def _basic_or_not(match: re.Match[str]) -> str:
    """English has "basic" before words, too: a login is base64 of text with a colon in it."""
    try:
        login = b64decode(match[2] + "===", b"-_" if re.search("[-_]", match[2]) else None).decode()
    except ValueError:
        return match[0]
    return f"{match[1]}{FILTERED}" if ":" in login else match[0]


def _case(pattern: str, replacement: Replacement) -> tuple[re.Pattern[str], Replacement]:
    return re.compile(pattern, re.IGNORECASE), replacement


# In this order: what is long and marked comes before what may be a part of it.
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
    # Cookie: to the end of the line, or of what is quoted.
    _case(
        rf"(cookie[\w.-]{{0,40}}{_ENDS_NAME}\s*:\s*(?![\s\"'`\\{{\[]))"
        r"(?:=\\*\"[^\"\r\n]*\"|[^\r\n\"'`\\]|'(?=[\w;=%.-]))++",
        rf"\1{FILTERED}",
    ),
    _case(
        rf"(cookie[\w.-]{{0,40}}{_ENDS_NAME}\s*=\s*)(?=[^\s\"'`\\=>\[{{]){_BARE}"
        r"(?:;\s*[\w.-]+=[^\s;,\"'`&\\]*)*+",
        rf"\1{FILTERED}",
    ),
    _case(r"\b(basic\s+)([\w+/-]{4,}+)={0,2}", _basic_or_not),
    # English has "token" before words, too: what follows must not look like one.
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
    # scheme://user:password@host; what is no port may hold any of /?#@.
    _case(
        rf"({_URL})(?:[^{_NO_URL}/?#]+|[^{_NO_URL}/?#:@]{{0,200}}+:(?!\d{{1,5}}[/?#])"
        rf"[^{_NO_URL}]{{1,200}})@",
        rf"\1{FILTERED}@",
    ),
    _case(r"(?<![\w.+-])[\w.+-]{1,64}+:[^\s\"'<>]{1,200}@(?=(?:tcp|udp|unix)\()", f"{FILTERED}@"),
    # A URL's query and fragment.
    _case(
        rf"({_URL}[^{_NO_URL}?#]{{0,2000}}+)[?#](?:[^{_NO_URL}\\]|\\++(?![\"'`]))*+",
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
    # password=… and "password": "…", in whatever stands around it.
    _case(
        rf"({_NAME}(?:[ ](?:key|id|value|code|hash|string))?{_ENDS_NAME}{_IS}){_VALUE}",
        rf"\1{FILTERED}",
    ),
)  # fmt: skip
