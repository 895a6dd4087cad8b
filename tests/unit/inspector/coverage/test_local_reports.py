"""Local reports: read once, read again after a change, and merged."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest
from structlog.testing import capture_logs

from consumer_fleet.inspector.coverage.local_reports import LocalReports
from consumer_fleet.inspector.coverage.reports import CoverageReport, read_report
from consumer_fleet.inspector.coverage.service import (
    Coverage,
    CoverageQuery,
    CoverageStatus,
    Line,
    PathMapping,
)

COVERED, UNCOVERED, PARTIAL = Line.COVERED, Line.UNCOVERED, Line.PARTIAL
QUERY = CoverageQuery("shop/models.py", abs_path="/srv/shop/models.py", module="shop.models")


def write(path: Path, executed: list[int], missing: list[int], *, name: str = QUERY.file) -> Path:
    about = {"executed_lines": executed, "missing_lines": missing}
    path.write_bytes(orjson.dumps({"meta": {}, "files": {name: about}}))
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths of the reports read, in order."""
    paths: list[Path] = []

    def noted(path: Path) -> CoverageReport:
        paths.append(path)
        return read_report(path)

    monkeypatch.setattr("consumer_fleet.inspector.coverage.local_reports.read_report", noted)
    return paths


def test_a_files_lines_are_sorted(tmp_path: Path) -> None:
    reports = LocalReports([write(tmp_path / "a.json", [3, 10, 1], [2])], ())
    assert reports.coverage(QUERY) == Coverage(
        CoverageStatus.EXISTS,
        ((1, COVERED), (2, UNCOVERED), (3, COVERED), (10, COVERED)),
        provider="local",
    )
    assert reports.has(QUERY)


def test_a_file_in_no_report_has_no_data(tmp_path: Path) -> None:
    reports = LocalReports([write(tmp_path / "a.json", [1], [])], ())
    query = CoverageQuery("shop/views.py")
    assert reports.coverage(query) == Coverage(
        CoverageStatus.NO_DATA, provider="local", reason="no report contains shop/views.py"
    )
    assert not reports.has(query)


def test_of_several_reports_each_line_gets_its_best_result(tmp_path: Path) -> None:
    lcov = tmp_path / "lcov.info"
    lcov.write_text(
        "SF:/ci/shop/models.py\nDA:1,0\nDA:2,1\nBRDA:2,0,0,1\nBRDA:2,0,1,0\nDA:3,1\n"
        "BRDA:3,0,0,1\nBRDA:3,0,1,0\nDA:4,0\nend_of_record\n"
    )
    json = write(tmp_path / "a.json", [1, 3], [2, 4])
    for paths in ([lcov, json], [json, lcov]):
        found = LocalReports(paths, ()).coverage(QUERY)
        assert found.lines == ((1, COVERED), (2, PARTIAL), (3, COVERED), (4, UNCOVERED))


def test_an_ambiguous_file_has_no_data_and_a_reason(tmp_path: Path) -> None:
    reports = LocalReports(
        [
            write(tmp_path / "a.json", [1], [], name="a/shop/models.py"),
            write(tmp_path / "b.json", [1], [], name="b/shop/models.py"),
        ],
        (),
    )
    found = reports.coverage(QUERY)
    assert found.status is CoverageStatus.NO_DATA
    assert found.reason is not None
    assert "a/shop/models.py, b/shop/models.py" in found.reason
    assert not reports.has(QUERY)


def test_a_mapping_applies(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [1], [], name="backend/models.py")
    assert LocalReports([path], [PathMapping("/srv/shop", "backend")]).has(QUERY)
    assert not LocalReports([path], ()).has(QUERY)


def test_a_file_without_lines_has_no_data(tmp_path: Path) -> None:
    found = LocalReports([write(tmp_path / "a.json", [], [])], ()).coverage(QUERY)
    assert (found.status, found.reason) == (
        CoverageStatus.NO_DATA,
        "the reports have no lines for that file",
    )


# -- reading --------------------------------------------------------------------------------------


def test_reports_are_read_once_at_the_first_query(tmp_path: Path, reads: list[Path]) -> None:
    paths = [write(tmp_path / f"{name}.json", [1], []) for name in "ab"]
    reports = LocalReports(paths, ())
    assert reads == []
    for _ in range(3):
        reports.coverage(QUERY)
        reports.has(CoverageQuery("other.py"))
    assert reads == paths


def test_only_a_changed_report_is_read_again(tmp_path: Path, reads: list[Path]) -> None:
    a, b = (write(tmp_path / f"{name}.json", [1], [2]) for name in "ab")
    reports = LocalReports([a, b], ())
    reports.coverage(QUERY)
    write(b, [1, 2, 3], [])
    assert reports.coverage(QUERY).lines == ((1, COVERED), (2, COVERED), (3, COVERED))
    assert reads == [a, b, b]


def test_a_changed_modification_time_is_enough_to_read_again(
    tmp_path: Path, reads: list[Path]
) -> None:
    path = write(tmp_path / "a.json", [1], [2])
    status = path.stat()
    reports = LocalReports([path], ())
    reports.coverage(QUERY)
    with path.open("r+b") as file:  # the same inode and size
        file.write(path.read_bytes().replace(b"[1]", b"[7]"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert reports.coverage(QUERY).lines == ((2, UNCOVERED), (7, COVERED))
    assert reads == [path, path]


def test_a_report_that_appears_later_is_read_then(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "a.json"
    reports = LocalReports([path], ())
    with capture_logs() as logs:
        for _ in range(3):
            found = reports.coverage(QUERY)
    assert found.reason == f"no report contains shop/models.py; {path}: No such file or directory"
    # Once, not for each query.
    assert [(entry["event"], entry["path"]) for entry in logs] == [
        ("coverage_report_unreadable", str(path))
    ]
    write(path, [1], [])
    assert reports.coverage(QUERY).status is CoverageStatus.EXISTS
    path.unlink()
    assert reports.coverage(QUERY).status is CoverageStatus.NO_DATA


def test_a_damaged_report_affects_only_itself_and_its_next_version_fixes_it(
    tmp_path: Path, reads: list[Path]
) -> None:
    good = write(tmp_path / "good.json", [1], [])
    bad = write(tmp_path / "bad.json", [2], [])
    bad.write_bytes(bad.read_bytes()[:-5])
    reports = LocalReports([bad, good], ())
    assert reports.coverage(QUERY).lines == ((1, COVERED),)
    reports.coverage(QUERY)
    assert reads == [bad, good]
    other = reports.coverage(CoverageQuery("other.py"))
    assert other.reason is not None
    assert f"{bad}: not JSON" in other.reason
    write(bad, [2, 3], [])
    assert reports.coverage(QUERY).lines == ((1, COVERED), (2, COVERED), (3, COVERED))


@pytest.mark.parametrize("is_first", [True, False])
def test_an_unexpected_error_in_a_report_affects_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    good, odd = write(tmp_path / "good.json", [1], []), tmp_path / "odd.json"

    def read(path: Path) -> CoverageReport:
        if path == odd:
            raise KeyError("nobody thought of it")
        return read_report(path)

    monkeypatch.setattr("consumer_fleet.inspector.coverage.local_reports.read_report", read)
    reports = LocalReports([odd, good] if is_first else [good, odd], ())
    with capture_logs() as logs:
        for _ in range(2):
            assert reports.coverage(QUERY).lines == ((1, COVERED),)
    assert [(line["event"], line["exc_info"]) for line in logs] == [
        ("coverage_report_unreadable", True)
    ]
    other = reports.coverage(CoverageQuery("other.py")).reason
    assert other is not None
    assert f"{odd}: KeyError" in other


def test_concurrent_queries_read_a_report_once(tmp_path: Path, reads: list[Path]) -> None:
    path = write(tmp_path / "a.json", list(range(1, 5000)), [])
    reports = LocalReports([path], ())
    start = threading.Barrier(8)

    def ask(_: int) -> Coverage:
        start.wait(10)
        return reports.coverage(QUERY)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert reads == [path]
    assert {len(answer.lines) for answer in answers} == {4999}
