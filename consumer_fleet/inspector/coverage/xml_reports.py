"""XML reports: Cobertura's, which coverage.py writes too, and JaCoCo's.

Read as a stream, so that a big report needs no tree. Both formats name a DTD in their DOCTYPE,
which is never fetched; a DOCTYPE that declares something itself is refused, and with it every
entity but XML's own five.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol, TypeAlias
from xml.parsers import expat

from consumer_fleet.inspector.coverage.reports import (
    Report,
    UnreadableReport,
    add_line,
    line_from_counts,
    line_number,
)
from consumer_fleet.inspector.coverage.service import Line, Lines

Attributes: TypeAlias = dict[str, str]

_CHUNK_BYTES = 64 * 1024
_TAKEN = re.compile(r"(\d{1,9})\s*/\s*(\d{1,9})")
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*%")


class _Format(Protocol):
    """Gets the elements of one document in order."""

    def start(self, name: str, attributes: Attributes) -> None: ...

    def text(self, text: str) -> None: ...

    def end(self, name: str) -> None: ...

    def report(self) -> Report: ...


class _Cobertura:
    """``coverage/packages/package/classes/class[@filename]/lines/line``.

    A method's lines are among those of its class as well, and several classes share a file.
    """

    def __init__(self) -> None:
        self._files: Report = {}
        self._lines: Lines | None = None
        self._in_methods = False
        self._in_source = False
        self._sources: list[str] = []

    def start(self, name: str, attributes: Attributes) -> None:
        if name == "class":
            self._lines = self._files.setdefault(attributes.get("filename", ""), {})
        elif name == "methods":
            self._in_methods = True
        elif name == "source":
            self._in_source = True
            self._sources.append("")
        elif name == "line" and self._lines is not None and not self._in_methods:
            number = line_number(attributes.get("number"))
            ran = line_number(attributes.get("hits")) > 0
            taken, branches = _condition_coverage(attributes.get("condition-coverage", ""))
            add_line(self._lines, number, line_from_counts(ran, branches, taken))

    def text(self, text: str) -> None:
        if self._in_source:
            self._sources[-1] += text

    def end(self, name: str) -> None:
        if name == "class":
            self._lines = None
        elif name == "methods":
            self._in_methods = False
        elif name == "source":
            self._in_source = False

    def report(self) -> Report:
        """With one source folder, which the files' names are relative to, it is put before them.

        With several, nothing tells which of them a file is in.
        """
        sources = {source.strip() for source in self._sources} - {"", "."}
        folder = f"{sources.pop()}/" if len(sources) == 1 else ""
        return {
            name if name.startswith("/") else f"{folder}{name}": lines
            for name, lines in self._files.items()
            if name
        }


class _Jacoco:
    """``report/(group/)*package[@name]/sourcefile[@name]/line[@nr,@mi,@ci,@mb,@cb]``.

    Missed and covered instructions and branches of a line. Groups are modules of a build.
    """

    def __init__(self) -> None:
        self._files: Report = {}
        self._package = ""
        self._lines: Lines | None = None

    def start(self, name: str, attributes: Attributes) -> None:
        if name == "package":
            self._package = attributes.get("name", "")
        elif name == "sourcefile":
            path = f"{self._package}/{attributes.get('name', '')}".lstrip("/")
            self._lines = self._files.setdefault(path, {})
        elif name == "line" and self._lines is not None:
            missed, covered, missed_branches, covered_branches = (
                line_number(attributes.get(key, "0")) for key in ("mi", "ci", "mb", "cb")
            )
            # JaCoCo's own rule, and so the colours of its pages.
            line = Line.PARTIAL
            if covered == covered_branches == 0:
                line = Line.UNCOVERED
            elif missed == missed_branches == 0:
                line = Line.COVERED
            add_line(self._lines, line_number(attributes.get("nr")), line)

    def text(self, text: str) -> None:
        """JaCoCo has everything in attributes."""

    def end(self, name: str) -> None:
        if name == "sourcefile":
            self._lines = None

    def report(self) -> Report:
        return self._files


_FORMATS: dict[str, type[_Cobertura] | type[_Jacoco]] = {"coverage": _Cobertura, "report": _Jacoco}


class _Document:
    """Chooses the format by the root element."""

    def __init__(self) -> None:
        self._format: _Format | None = None
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start

    def _doctype(
        self, _name: str, _system: str | None, _public: str | None, has_declarations: bool
    ) -> None:
        if has_declarations:
            raise UnreadableReport("its DOCTYPE declares something, which a report has no use for")

    def _start(self, name: str, attributes: Attributes) -> None:
        chosen = _FORMATS.get(name)
        if chosen is None:
            raise UnreadableReport(f"<{name[:40]}> is not the root of a known coverage report")
        self._format = chosen()
        self.parser.StartElementHandler = self._format.start
        self.parser.EndElementHandler = self._format.end
        self.parser.CharacterDataHandler = self._format.text

    def report(self) -> Report:
        assert self._format is not None  # a document without a root is an error of the parser's
        return self._format.report()


def read_xml(path: Path) -> Report:
    document = _Document()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                document.parser.Parse(chunk, False)
            document.parser.Parse(b"", True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the latter two: its encoding
        raise UnreadableReport(f"not XML: {error}") from error
    except UnreadableReport as error:
        raise UnreadableReport(f"line {document.parser.CurrentLineNumber}: {error}") from error
    return document.report()


def _condition_coverage(text: str) -> tuple[int, int]:
    """``50% (1/2)``, or the percentage alone → branches taken, and branches; none: 0, 0."""
    if (counts := _TAKEN.search(text)) is not None:
        return int(counts[1]), int(counts[2])
    if (percent := _PERCENT.match(text)) is not None:
        return (1, 1) if float(percent[1]) >= 100 else (0, 1)
    return 0, 0
