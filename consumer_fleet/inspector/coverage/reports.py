"""Read coverage reports: coverage.py's data file, JSON and XML, Cobertura XML, JaCoCo XML and lcov.

XML is read as a stream: a big report needs no tree. Its formats name a DTD in their DOCTYPE, which
is never fetched; a DOCTYPE with declarations of its own is refused, and with it every entity but
XML's own five.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeAlias
from xml.parsers import expat

import orjson

from consumer_fleet.inspector.coverage.service import Line, Lines

FORMATS = "coverage.py (.coverage, JSON, XML), Cobertura XML, JaCoCo XML and lcov"
_LIMIT_BYTES = 512 * 1024 * 1024
_SNIFFED_BYTES = 4096
_SQLITE = b"SQLite format 3\0"
_BOM = b"\xef\xbb\xbf"
_UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_COMMENT_LINES = re.compile(rb"(?:#[^\n]*\n\s*)+")
# File name as in the report → its lines.
CoverageReport: TypeAlias = dict[str, Lines]


class UnreadableReport(Exception):
    """The message says what is wrong with the file, without naming it."""


def read_report(path: Path) -> CoverageReport:
    """Parse the file; its content determines the format. Blocks; raises UnreadableReport."""
    try:
        _check_file(path)
        report = _parse(path)
    except OSError as error:
        raise UnreadableReport(error.strerror or "can't be read") from error
    except UnicodeDecodeError as error:
        raise UnreadableReport("not UTF-8") from error
    if not report:
        raise UnreadableReport("it lists no source files")
    return report


def _check_file(path: Path) -> None:
    size = path.stat().st_size
    if not path.is_file():
        raise UnreadableReport("not a file")  # reading a pipe would block
    if size > _LIMIT_BYTES:
        raise UnreadableReport(f"larger than {_LIMIT_BYTES // 1024**2} MiB")


def _parse(path: Path) -> CoverageReport:
    with path.open("rb") as file:
        start = file.read(_SNIFFED_BYTES)
    if start.startswith(_SQLITE):
        return read_data_file(path)
    text = start.removeprefix(_BOM).lstrip()
    if text.startswith(b"{"):
        return read_json(path)
    if text.startswith((b"<", *_UTF_16_BOMS)):
        return read_xml(path)
    if _COMMENT_LINES.sub(b"", text, count=1).startswith((b"TN:", b"SF:")):
        return read_lcov(path)
    raise UnreadableReport(f"not a coverage report: expected {FORMATS}")


def line_from_counts(ran: bool, branches: int, taken: int) -> Line:
    """A line with branches is covered when all of them were taken."""
    if not ran:
        return Line.UNCOVERED
    return Line.PARTIAL if taken < branches else Line.COVERED


_BEST_FIRST = (Line.COVERED, Line.PARTIAL, Line.UNCOVERED)


def add_line(lines: Lines, number: int, line: Line) -> None:
    """Add one line. Of several results for one line, keep the best."""
    known = lines.get(number)
    if known is None or _BEST_FIRST.index(line) < _BEST_FIRST.index(known):
        lines[number] = line


def line_number(text: str | None) -> int:
    """Parse a number of a report. Raises UnreadableReport for anything else."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 18:
        raise UnreadableReport(f"{_shown(text)} is not a number")
    return int(text)


def _shown(text: str | None) -> str:
    return "nothing" if text is None else repr(text[:40])


def read_json(path: Path) -> CoverageReport:
    """Read the output of ``coverage json``; it has branches if they were measured."""
    try:
        document = orjson.loads(path.read_bytes().removeprefix(_BOM))
    except orjson.JSONDecodeError as error:
        raise UnreadableReport(f"not JSON: {error}") from error
    files = document.get("files")
    if not isinstance(files, dict) or not isinstance(document.get("meta"), dict):
        raise UnreadableReport("JSON, but not the output of `coverage json`")
    return {name: _lines(about) for name, about in files.items()}


def read_data_file(path: Path) -> CoverageReport:
    """Read ``.coverage``, which lists only the lines that ran.

    coverage.py finds the other lines in the sources: it and they must be on this machine.
    """
    try:
        from coverage import Coverage  # noqa: PLC0415 - optional dependency
        from coverage.exceptions import CoverageException  # noqa: PLC0415 - as above
    except ImportError as error:
        raise UnreadableReport(
            "a .coverage file requires consumer-fleet[coverage]: install it, or use the "
            "output of `coverage json`"
        ) from error
    with TemporaryDirectory() as folder:
        output = Path(folder) / "coverage.json"
        # No configuration file: it could load plugins, which are code.
        measured = Coverage(data_file=str(path), config_file=False)
        measured.set_option("run:disable_warnings", ["couldnt-parse"])
        try:
            measured.load()
            measured.json_report(outfile=str(output), ignore_errors=True)
        except CoverageException as error:
            raise UnreadableReport(f"coverage.py says: {error}") from error
        report = read_json(output)
    if not report:
        raise UnreadableReport(
            "the measured sources are not on this machine: use the output of `coverage json`"
        )
    return report


def _lines(about: Any) -> Lines:
    if not isinstance(about, dict):
        raise UnreadableReport("a file's entry is not an object")
    lines: Lines = dict.fromkeys(_numbers(about, "missing_lines"), Line.UNCOVERED)
    lines.update(dict.fromkeys(_numbers(about, "executed_lines"), Line.COVERED))
    branches = about.get("missing_branches", [])
    if not isinstance(branches, list):
        raise UnreadableReport("missing_branches is not a list of pairs of lines")
    for branch in branches:
        if not isinstance(branch, list) or not branch or type(branch[0]) is not int:
            raise UnreadableReport("a missing branch is not a pair of lines")
        if lines.get(branch[0]) is Line.COVERED:
            lines[branch[0]] = Line.PARTIAL
    return lines


def _numbers(about: dict[str, Any], key: str) -> Iterable[int]:
    numbers = about.get(key)
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
        raise UnreadableReport(f"{key} is not a list of line numbers")
    return numbers


@dataclass(slots=True)
class _Counts:
    """Lines that ran and branches taken in one source file, over all tests."""

    ran: dict[int, bool] = field(default_factory=dict)
    branches: dict[int, dict[str, bool]] = field(default_factory=dict)

    def add_line(self, value: str) -> None:
        """``DA:<line>,<hits>[,<checksum>]``"""
        number, _, rest = value.partition(",")
        line = line_number(number)
        self.ran[line] = self.ran.get(line, False) or _is_taken(rest.partition(",")[0])

    def add_branch(self, value: str) -> None:
        """``BRDA:<line>,[e]<block>,<branch>,<taken>``; a branch's name may contain commas."""
        number, _, rest = value.partition(",")
        branch, _, taken = rest.rpartition(",")
        known = self.branches.setdefault(line_number(number), {})
        known[branch] = known.get(branch, False) or _is_taken(taken)

    def lines(self) -> Lines:
        found: Lines = {}
        for number, ran in self.ran.items():
            taken = self.branches.get(number, {}).values()
            found[number] = line_from_counts(ran, len(taken), sum(taken))
        return found


def read_lcov(path: Path) -> CoverageReport:
    """Add up the records of a source file: there may be one for each test."""
    counts: dict[str, _Counts] = {}
    current: _Counts | None = None
    with path.open(encoding="utf-8-sig") as file:
        for position, text in enumerate(file, 1):
            key, _, value = text.strip().partition(":")
            if key == "SF":
                current = counts.setdefault(value, _Counts())
            elif key == "end_of_record":
                current = None
            elif current is not None and key in ("DA", "BRDA"):
                try:
                    current.add_line(value) if key == "DA" else current.add_branch(value)
                except UnreadableReport as error:
                    raise UnreadableReport(f"line {position}: {error}") from error
    return {name: found.lines() for name, found in counts.items()}


def _is_taken(count: str) -> bool:
    """``-`` means that the branch's line never ran. Some compilers write negative counts."""
    if count == "-" or count.startswith("-"):
        return False
    return line_number(count) > 0


Attributes: TypeAlias = dict[str, str]

_CHUNK_BYTES = 64 * 1024
_TAKEN = re.compile(r"(\d{1,9})\s*/\s*(\d{1,9})")
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*%")


class _Format(Protocol):
    """Receives the elements of one document in order."""

    def start(self, name: str, attributes: Attributes) -> None: ...

    def text(self, text: str) -> None: ...

    def end(self, name: str) -> None: ...

    def report(self) -> CoverageReport: ...


class _Cobertura:
    """``coverage/packages/package/classes/class[@filename]/lines/line``.

    A class repeats the lines of its methods, and several classes may share a file.
    """

    def __init__(self) -> None:
        self._files: CoverageReport = {}
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

    def report(self) -> CoverageReport:
        """Prefix file names with the source folder, if the report names exactly one.

        With several, the report does not say which one a file is in.
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

    The attributes count missed and covered instructions and branches. A group is a build module.
    """

    def __init__(self) -> None:
        self._files: CoverageReport = {}
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
            # The same rule as in JaCoCo's own pages.
            line = Line.PARTIAL
            if covered == covered_branches == 0:
                line = Line.UNCOVERED
            elif missed == missed_branches == 0:
                line = Line.COVERED
            add_line(self._lines, line_number(attributes.get("nr")), line)

    def text(self, text: str) -> None:
        """Ignored: JaCoCo uses attributes only."""

    def end(self, name: str) -> None:
        if name == "sourcefile":
            self._lines = None

    def report(self) -> CoverageReport:
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
            raise UnreadableReport("declarations in its DOCTYPE are not allowed")

    def _start(self, name: str, attributes: Attributes) -> None:
        chosen = _FORMATS.get(name)
        if chosen is None:
            raise UnreadableReport(f"<{name[:40]}> is not the root of a known coverage report")
        self._format = chosen()
        self.parser.StartElementHandler = self._format.start
        self.parser.EndElementHandler = self._format.end
        self.parser.CharacterDataHandler = self._format.text

    def report(self) -> CoverageReport:
        assert self._format is not None  # the parser refuses a document without a root
        return self._format.report()


def read_xml(path: Path) -> CoverageReport:
    document = _Document()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                document.parser.Parse(chunk, False)
            document.parser.Parse(b"", True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the last two: bad encoding
        raise UnreadableReport(f"not XML: {error}") from error
    except UnreadableReport as error:
        raise UnreadableReport(f"line {document.parser.CurrentLineNumber}: {error}") from error
    return document.report()


def _condition_coverage(text: str) -> tuple[int, int]:
    """``50% (1/2)``, or only the percentage → branches taken, branches in total."""
    if (counts := _TAKEN.search(text)) is not None:
        return int(counts[1]), int(counts[2])
    if (percent := _PERCENT.match(text)) is not None:
        return (1, 1) if float(percent[1]) >= 100 else (0, 1)
    return 0, 0
