"""Redaction by value: what this process prints and logs repeats no secret that it has read.

``parsing.shown`` hides values whose option says that they are secret. This hides the rest, whoever
repeats them: a library's error, a server's answer, a wrong option. It is applied where text leaves
the process: the log's handler, both standard streams, and the events about our own errors.
"""

from __future__ import annotations

import codecs
import io
import json
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TextIO
from urllib.parse import quote, unquote

from consumer_fleet.bootstrap.parsing import PAIR_SEPARATOR
from consumer_fleet.printable import REDACTED

# A shorter one is found by its name only: by value it would hide parts of ordinary words.
_SHORTEST = 4
# From here on a value is hidden inside a longer word too.
_DISTINCT = 8
# The userinfo of a DSN is one key, and a user name may be an API key, or just "kafka".
_SHORTEST_NAME = 8
_NOT_SECRET = frozenset({"true", "false", "none", "null"})
_SECRET_NAME = re.compile(
    r"(?:password|secret|passphrase|token|key[._]pem|jaas[._]config|oauthbearer[._]config)$",
    re.IGNORECASE,
)
_USER_NAME = re.compile(r"sasl[._]username$", re.IGNORECASE)
_NAME = re.compile(r"([A-Za-z0-9_.\-]+)[\"']?(?:\s*[=:]\s*|\s+)")
# Parts of a URL may be repeated alone: a proxy's password with a slash ends its host.
_URL_DELIMITER = re.compile(r"[/@:?# ]")


class Redaction:
    """The secrets of a process. Threads may share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, secret: str, shortest: int = _SHORTEST) -> None:
        """Hide this value from now on, also as JSON, Python or a URL would write it."""
        lines = secret.splitlines()
        # Each line of a PEM block may be shown alone; its first and last are no secret.
        parts = [line for line in lines if not line.startswith("-----")] if lines[1:] else [secret]
        found = {
            form
            for part in (secret, *parts)
            if len(part.strip()) >= shortest and part.strip().lower() not in _NOT_SECRET
            for form in _forms(part.strip())
        }
        with self._lock:
            if found <= self._values:
                return
            self._values |= found
            longest_first = sorted(self._values, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(_pattern, longest_first)))

    def learn_option(self, value: object, name: str = "") -> None:
        """Learn the secrets in the value of an option, right or wrong, whatever its form."""
        if isinstance(value, Mapping):
            for key, item in value.items():
                self.learn_option(item, str(key))
        elif isinstance(value, list | tuple):
            for item in value:
                self.learn_option(item, name)
        elif value is not None and not isinstance(value, bool):
            text = str(value)
            if _SECRET_NAME.search(name):
                self.learn(text)
            elif _USER_NAME.search(name):
                self.learn(text, _SHORTEST_NAME)
            self._learn_pairs(text)
            self._learn_userinfo(text)

    def _learn_pairs(self, text: str) -> None:
        for match in _NAME.finditer(text):
            if _SECRET_NAME.search(match[1]):
                rest = PAIR_SEPARATOR.split(text[match.end() :])[0]
                self.learn(rest.splitlines()[0].strip(" \"'{}") if rest.strip() else "")

    def _learn_userinfo(self, text: str) -> None:
        parts = text.split("://")
        # libcurl takes a proxy without a scheme.
        for part in parts[1:] or parts:
            userinfo, _, _host = part.rpartition("@")
            user, colon, password = userinfo.partition(":")
            if colon:
                self.learn(userinfo)
                self.learn(password)
                self.learn(unquote(password))
                for delimiter in _URL_DELIMITER.finditer(password):
                    self.learn(password[: delimiter.start()])
                    self.learn(f"{password[delimiter.end() :]}@")
            if colon or parts[1:]:
                self.learn(user, _SHORTEST_NAME)

    def redact(self, text: str) -> str:
        """The text without the secrets that are known."""
        return text if self._pattern is None else self._pattern.sub(REDACTED, text)

    def redact_all(self, value: Any) -> Any:
        """A copy of plain data, such as an event, without the secrets in its texts."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, dict):
            return {key: self.redact_all(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.redact_all(item) for item in value]
        return value


def _forms(secret: str) -> set[str]:
    return {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        quote(secret, safe=""),
    }


def _pattern(value: str) -> str:
    pattern = re.escape(value)
    if len(value) >= _DISTINCT:
        return pattern
    before = r"(?<![A-Za-z0-9])" if value[0].isalnum() else ""
    after = r"(?![A-Za-z0-9])" if value[-1].isalnum() else ""
    return f"{before}{pattern}{after}"


# The process's own. Tests replace it: one test's passwords are words in another's texts.
process_redaction = Redaction()


def learn_option(value: object, name: str = "") -> None:
    """``Redaction.learn_option``, for this process."""
    process_redaction.learn_option(value, name)


def redact(text: str) -> str:
    """The text without the secrets that this process has read."""
    return process_redaction.redact(text)


def redact_all(value: Any) -> Any:
    """``Redaction.redact_all``, for this process."""
    return process_redaction.redact_all(value)


def learn_environment(environ: Mapping[str, str]) -> None:
    """Learn the secrets that the environment holds beside the options."""
    for name, value in environ.items():
        if name.lower().endswith("_proxy") or name == "CODECOV_TOKEN":
            learn_option(value, name)


def guard(stream: TextIO | None, *, may_be_lost: bool = False) -> None:
    """Redact all text that is written to the stream from now on, whoever writes it.

    It is changed in place: click, rich and the interpreter each find the stream in their own way.
    With ``may_be_lost`` an error in writing, such as a full disk, is ignored: there is no way to
    report it, and it must not change the exit code. Characters that its encoding lacks are escaped.
    """
    if stream is None or "write" in vars(stream):
        return
    if isinstance(stream, io.TextIOWrapper):
        is_ascii = codecs.lookup(stream.encoding).name == "ascii"
        # ASCII means that no locale is set. click would write UTF-8 to a stream of its own then.
        encoding = "utf-8" if is_ascii else stream.encoding
        stream.reconfigure(encoding=encoding, errors="backslashreplace")
    write, flush = stream.write, stream.flush
    ignored = (OSError,) if may_be_lost else ()

    def write_redacted(text: str) -> int:
        with suppress(*ignored):
            write(redact(text))
        return len(text)

    def flush_if_possible() -> None:
        with suppress(*ignored):
            flush()

    stream.write = write_redacted  # type: ignore[method-assign]
    stream.flush = flush_if_possible  # type: ignore[method-assign]
