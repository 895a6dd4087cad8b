"""Reports of coverage.py: ``coverage json``, and the data file ``.coverage``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from inspector.coverage.interface import Line, Lines
from inspector.coverage.report import Report, UnreadableReport

_BOM = b"\xef\xbb\xbf"


def read_json(path: Path) -> Report:
    """``coverage json``. Branches are there if they were measured."""
    try:
        document = orjson.loads(path.read_bytes().removeprefix(_BOM))
    except orjson.JSONDecodeError as error:
        raise UnreadableReport(f"not JSON: {error}") from error
    files = document.get("files")
    if not isinstance(files, dict) or not isinstance(document.get("meta"), dict):
        raise UnreadableReport("of all JSON, only that of `coverage json` is known")
    return {name: _lines(about) for name, about in files.items()}


def read_data_file(path: Path) -> Report:
    """``.coverage``: the lines that ran. What else could have run, only the sources tell.

    coverage.py itself finds that out, so it and the measured sources must be on this machine.
    """
    try:
        from coverage import Coverage  # noqa: PLC0415 - an optional dependency
        from coverage.exceptions import CoverageException  # noqa: PLC0415 - as above
    except ImportError as error:
        raise UnreadableReport(
            "to read a .coverage file install consumer-fleet[coverage], or give the output of "
            "`coverage json`"
        ) from error
    with TemporaryDirectory() as folder:
        output = Path(folder) / "coverage.json"
        # No configuration file: it could name plugins, which are code.
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
            "none of the measured sources is on this machine: give the output of `coverage json`"
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
