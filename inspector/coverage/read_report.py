"""Reads a coverage report of any known format."""

from __future__ import annotations

import re
from pathlib import Path

from inspector.coverage import coverage_py, lcov, xml_reports
from inspector.coverage.report import Report, UnreadableReport

FORMATS = "coverage.py (.coverage, JSON, XML), Cobertura XML, JaCoCo XML and lcov"
_LIMIT_BYTES = 512 * 1024 * 1024
_SNIFFED_BYTES = 4096
_SQLITE = b"SQLite format 3\0"
_BOM = b"\xef\xbb\xbf"
_UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_COMMENT_LINES = re.compile(rb"(?:#[^\n]*\n\s*)+")


def read_report(path: Path) -> Report:
    """Parse the file. Its content decides on the format. Blocks; raises UnreadableReport."""
    try:
        _check_file(path)
        report = _parse(path)
    except OSError as error:
        raise UnreadableReport(error.strerror or "can't be read") from error
    except UnicodeDecodeError as error:
        raise UnreadableReport("it is not UTF-8") from error
    if not report:
        raise UnreadableReport("it names no source file")
    return report


def _check_file(path: Path) -> None:
    size = path.stat().st_size
    if not path.is_file():
        raise UnreadableReport("not a file")  # a pipe would be waited for
    if size > _LIMIT_BYTES:
        raise UnreadableReport(f"larger than {_LIMIT_BYTES // 1024**2} MiB")


def _parse(path: Path) -> Report:
    with path.open("rb") as file:
        start = file.read(_SNIFFED_BYTES)
    if start.startswith(_SQLITE):
        return coverage_py.read_data_file(path)
    text = start.removeprefix(_BOM).lstrip()
    if text.startswith(b"{"):
        return coverage_py.read_json(path)
    if text.startswith((b"<", *_UTF_16_BOMS)):
        return xml_reports.read_xml(path)
    if _COMMENT_LINES.sub(b"", text, count=1).startswith((b"TN:", b"SF:")):
        return lcov.read_lcov(path)
    raise UnreadableReport(f"not a coverage report; known are {FORMATS}")
