"""Expectation files: the stored outcome of a replay, beside its recording."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from consumer_fleet.errors import ConfigurationError, OutputError
from consumer_fleet.metrics import Snapshot
from consumer_fleet.testing.captured import DeadLettered, Origin, SentEnvelope

if TYPE_CHECKING:
    from consumer_fleet.testing.captured import SentItem
UPDATE_OPTION: Final = "--update-recordings"
_SUFFIX: Final = ".expected.json"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_DIFF_LINES: Final = 200
_TEXT_CHARACTERS: Final = 1000


@dataclass
class ExpectationFiles:
    """The files of one test run; with ``update`` they are written, not compared."""

    update: bool = False
    written: list[Path] = field(default_factory=list)
    #: Recordings that were recorded again.
    recorded: set[Path] = field(default_factory=set)
    _seen: dict[Path, str] = field(default_factory=dict)

    def meet(self, path: Path, text: str) -> None:
        """Write ``text`` or compare with it; AssertionError if they differ."""
        __tracebackhide__ = True
        if self.update:
            self._write(path, text)
            return
        try:
            stored = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise AssertionError(
                f"there is no expectation yet: {path}\n"
                f"Write it with: pytest {UPDATE_OPTION}, and read it before you commit it."
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise AssertionError(f"the expectation {path} can't be read: {error}") from error
        try:
            expected = json.loads(stored)
            before, after = _sections(expected), _sections(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AssertionError(
                f"{path} is not a valid expectation ({type(error).__name__}: {error}). Write it "
                f"again with: pytest {UPDATE_OPTION}"
            ) from error
        if before != after:
            raise AssertionError(_difference(path, before, after))

    def _write(self, path: Path, text: str) -> None:
        if self._seen.setdefault(path, text) != text:
            raise AssertionError(
                f"two different replays of this run would be stored in {path}: give them "
                "different names with check(name=…)"
            )
        try:
            if not path.exists() or path.read_bytes() != text.encode():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                self.written.append(path)
        except OSError as error:
            raise OutputError(f"{path} can't be written: {error.strerror or error}") from error


@dataclass(frozen=True)
class Expectations:
    """The expectations of one recording. ``stem`` is its file's name, None without a file."""

    folder: Path
    stem: str | None
    files: ExpectationFiles

    def check(self, replayed: Replayed, name: str | None) -> None:
        """See ``Replayed.check``."""
        __tracebackhide__ = True
        if name is not None and not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"check(name={name!r}): expected letters, digits, dots, dashes and underscores"
            )
        parts = [part for part in (self.stem, name) if part is not None]
        if not parts:
            raise ConfigurationError("a recording made by the test has no file: give check(name=…)")
        self.files.meet(self.folder / (".".join(parts) + _SUFFIX), _as_text(_described(replayed)))


def _described(replayed: Replayed) -> dict[str, Any]:
    """Leave out what differs from run to run, or from one Python to the next."""
    return {
        "commits": {str(index): offset for index, offset in replayed.commits.items()},
        "dead_letters": [
            {"origin": str(letter.origin), "reason": letter.reason}
            for letter in replayed.dead_letters
        ],
        "delivered": replayed.delivered,
        "envelopes": {
            name: [_envelope(envelope) for envelope in envelopes]
            for name, envelopes in replayed.envelopes.items()
        },
        "filtered": dict(replayed.filtered),
    }


def _envelope(envelope: SentEnvelope) -> dict[str, Any]:
    return {
        "origin": str(envelope.origin),
        "header": dict(envelope.header),
        "items": [
            {"type": item.type, "header": dict(item.header), **_payload(item)}
            for item in envelope.items
        ],
    }


def _payload(item: SentItem) -> dict[str, Any]:
    try:
        text = item.payload.decode()
        # Not orjson: it turns large numbers into floats, and they may be ids.
        return {"json": json.loads(text)}
    except UnicodeDecodeError:
        text = ""
    except ValueError:
        pass
    if text and len(text) <= _TEXT_CHARACTERS:
        return {"text": text}
    return {"bytes": len(item.payload), "sha256": hashlib.sha256(item.payload).hexdigest()}


def _as_text(described: Any) -> str:
    return json.dumps(described, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _sections(described: Any) -> dict[str, list[str]]:
    """Return the lines to compare: for each envelope, and for all the rest.

    Each section is small enough for difflib, whose time grows with the square of the lines.
    """
    rest = {name: value for name, value in described.items() if name != "envelopes"}
    sections = {"counts": _as_text(rest).splitlines()}
    for destination, envelopes in described["envelopes"].items():
        for number, envelope in enumerate(envelopes):
            title = f"{destination}: {envelope['origin']}"
            if title in sections:
                title = f"{title} (envelope {number})"
            sections[title] = _as_text(envelope).splitlines()
    return sections


def _difference(path: Path, expected: dict[str, list[str]], found: dict[str, list[str]]) -> str:
    titles = [each for each in {**expected, **found} if expected.get(each) != found.get(each)]
    lines = ["--- expected", "+++ replayed"]
    for number, title in enumerate(titles):
        if len(lines) > _DIFF_LINES:
            lines.append(f"… and {len(titles) - number:,} more envelopes differ")
            break
        lines.append(f"@@ {title} @@")
        diff = difflib.unified_diff(expected.get(title, []), found.get(title, []), lineterm="")
        # Its own head and line numbers are meaningless here.
        lines += [line for line in islice(diff, _DIFF_LINES) if line[:2] not in ("--", "++", "@@")]
    return "\n".join(
        [
            f"the replay differs from {path}",
            *lines,
            f"If the new outcome is right: pytest {UPDATE_OPTION}",
        ]
    )


_NOWHERE = Origin("", -1, -1)


@dataclass(frozen=True)
class Replayed:
    """The outcome of a replay; lists are in the order of partition and offset.

    ``commits``: partition → the offset that the next run would begin with. ``metrics``:
    ``name{tag=value,…}`` → a counter's sum or a gauge's last value.
    """

    envelopes: Mapping[str, list[SentEnvelope]]
    dead_letters: list[DeadLettered]
    filtered: Mapping[str, int]
    commits: Mapping[int, int]
    delivered: int
    metrics: Mapping[str, float]
    #: The expectations that ``check`` compares with; the fixture sets them.
    expectations: Expectations | None = field(default=None, compare=False)

    def check(self, name: str | None = None) -> None:
        """Compare with the stored expectation; AssertionError with a diff if they differ.

        The file is beside the recording: RECORDING.expected.json, or RECORDING.NAME.expected.json
        for one of several tests of a recording. ``--update-recordings`` writes it.
        """
        __tracebackhide__ = True
        if self.expectations is None:
            raise TypeError("check() needs the fixture replay, which knows where the file is")
        self.expectations.check(self, name)

    def __repr__(self) -> str:
        sent = ", ".join(f"{name} {len(them)}" for name, them in self.envelopes.items() if them)
        reasons = ", ".join(f"{letter.origin} {letter.reason}" for letter in self.dead_letters[:3])
        more = ", …" if len(self.dead_letters) > 3 else ""
        return (
            f"<Replayed: sent to {sent or 'no destination'}; filtered {dict(self.filtered)}; "
            f"dead letters {len(self.dead_letters)} [{reasons}{more}]; "
            f"commits {dict(self.commits)}>"
        )


def in_order(envelopes: list[SentEnvelope]) -> list[SentEnvelope]:
    return sorted(envelopes, key=lambda envelope: envelope.origin or _NOWHERE)


def named_metrics(snapshot: Snapshot) -> dict[str, float]:
    """By ``name{tag=value,…}``, in order."""
    found = {}
    for (name, tags), value in sorted({**snapshot.counters, **snapshot.gauges}.items()):
        text = ",".join(f"{key}={tag}" for key, tag in sorted(tags))
        found[f"{name}{{{text}}}" if text else name] = value
    return found
