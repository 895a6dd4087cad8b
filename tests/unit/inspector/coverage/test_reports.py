"""Every format gives the same line states; an invalid file is an error with its reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from consumer_fleet.inspector.coverage.reports import CoverageReport, UnreadableReport, read_report
from consumer_fleet.inspector.coverage.service import Line

COVERED, UNCOVERED, PARTIAL = Line.COVERED, Line.UNCOVERED, Line.PARTIAL

# Lines 1 and 2 run, 2 with one of two branches; 3 does not run; 4 is a comment.
PROGRAM = """\
import sys
if len(sys.argv) > 9:
    print("never")
# a comment
"""
STATES = {1: COVERED, 2: PARTIAL, 3: UNCOVERED}

COBERTURA = """<?xml version="1.0"?>
<!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd">
<coverage line-rate="0.5" branch-rate="0.5" version="2" timestamp="1">
  <sources><source>{source}</source></sources>
  <packages><package name="shop"><classes>
    <class name="shop.Cart" filename="shop/Cart.cs">
      <methods><method name="m"><lines><line number="3" hits="9"/></lines></method></methods>
      <lines>
        <line number="1" hits="4" branch="false"/>
        <line number="2" hits="1" branch="true" condition-coverage="50% (1/2)">
          <conditions><condition number="0" type="jump" coverage="50%"/></conditions>
        </line>
        <line number="3" hits="0" branch="true" condition-coverage="0% (0/2)"/>
      </lines>
    </class>
    <class name="shop.Cart.Item" filename="shop/Cart.cs">
      <methods/>
      <lines>
        <line number="3" hits="0"/>
        <line number="10" hits="1" branch="true" condition-coverage="100% (2/2)"/>
        <line number="11" hits="1" branch="true" condition-coverage="75%"/>
        <line number="12" hits="1" branch="true" condition-coverage="100%"/>
      </lines>
    </class>
  </classes></package></packages>
</coverage>
"""
JACOCO = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<!DOCTYPE report PUBLIC "-//JACOCO//DTD CoverageReport 1.1//EN" "report.dtd">
<report name="shop"><sessioninfo id="x" start="1" dump="2"/>
  <group name="core"><package name="com/example/shop">
    <class name="com/example/shop/Cart" sourcefilename="Cart.java">
      <method name="add" desc="()V" line="3"><counter type="LINE" missed="1" covered="0"/></method>
    </class>
    <sourcefile name="Cart.java">
      <line nr="1" mi="0" ci="3" mb="0" cb="0"/>
      <line nr="2" mi="0" ci="4" mb="1" cb="1"/>
      <line nr="3" mi="5" ci="0" mb="0" cb="0"/>
      <line nr="5" mi="2" ci="3" mb="0" cb="0"/>
      <line nr="6" mi="0" ci="4" mb="0" cb="2"/>
      <counter type="LINE" missed="1" covered="3"/>
    </sourcefile>
  </package></group>
  <package name=""><sourcefile name="Main.java">
    <line nr="1" mi="0" ci="1" mb="0" cb="0"/>
  </sourcefile></package>
</report>
"""
LCOV = """TN:first
SF:src/cart.c
FN:1,add
FNDA:1,add
DA:1,4
DA:2,1,a1b2c3
DA:3,0
DA:5,1
DA:6,-2
BRDA:2,0,0,1
BRDA:2,0,1,0
BRDA:3,0,0,-
BRDA:5,e0,a, b,1
BRDA:5,e0,c,1
LF:5
LH:3
end_of_record
TN:second
SF:src/cart.c
DA:1,0
BRDA:5,e0,a, b,0
end_of_record
SF:src/other.c
DA:1,1
end_of_record
"""


def read(tmp_path: Path, text: str | bytes) -> CoverageReport:
    path = tmp_path / "report"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_report(path)


def problem(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(UnreadableReport) as caught:
        read(tmp_path, text)
    return str(caught.value)


# -- coverage.py ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where coverage.py measured PROGRAM, with its data file, JSON and XML reports."""
    pytest.importorskip("coverage")
    folder = tmp_path_factory.mktemp("measured")
    (folder / "shop").mkdir()
    (folder / "shop" / "models.py").write_text(PROGRAM)
    environment = {**os.environ, "COVERAGE_FILE": str(folder / ".coverage")}
    for arguments in (
        ["run", "--branch", "shop/models.py"],
        ["json", "-o", "coverage.json"],
        ["xml", "-o", "coverage.xml"],
        ["lcov", "-o", "coverage.lcov"],
    ):
        subprocess.run(
            [sys.executable, "-m", "coverage", *arguments],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
        )
    return folder


@pytest.mark.parametrize("name", ["coverage.json", "coverage.xml", "coverage.lcov", ".coverage"])
def test_all_formats_of_coverage_py_give_the_same_lines(measured: Path, name: str) -> None:
    ((path, lines),) = read_report(measured / name).items()
    assert path.endswith("shop/models.py")
    assert lines == STATES


def test_reading_a_data_file_does_not_change_it(measured: Path) -> None:
    before = (measured / ".coverage").read_bytes()
    read_report(measured / ".coverage")
    assert (measured / ".coverage").read_bytes() == before
    assert sorted(path.name for path in measured.iterdir()) == [
        ".coverage",
        "coverage.json",
        "coverage.lcov",
        "coverage.xml",
        "shop",
    ]


def test_a_data_file_without_sources_is_an_error_with_an_alternative(
    measured: Path, tmp_path: Path
) -> None:
    data = (measured / ".coverage").read_bytes()
    source = measured / "shop" / "models.py"
    source.rename(tmp_path / "models.py")
    try:
        text = problem(tmp_path, data)
    finally:
        (tmp_path / "models.py").rename(source)
    assert "coverage json" in text


def test_a_data_file_without_coverage_py_is_an_error_that_names_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "coverage", None)
    assert "consumer-fleet[coverage]" in problem(tmp_path, b"SQLite format 3\0 and so on")


def test_a_damaged_data_file_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    pytest.importorskip("coverage")
    assert "coverage.py says" in problem(tmp_path, b"SQLite format 3\0" + b"x" * 5000)


def test_excluded_lines_have_no_state(tmp_path: Path) -> None:
    about = {
        "executed_lines": [1, 2],
        "missing_lines": [3],
        "excluded_lines": [7],
        "missing_branches": [[2, 3], [3, -1]],
    }
    document = {"meta": {"version": "7"}, "files": {"a.py": about}}
    assert read(tmp_path, orjson.dumps(document)) == {"a.py": STATES}


def test_json_without_branches_is_read_by_lines(tmp_path: Path) -> None:
    about = {"executed_lines": [1], "missing_lines": []}
    document = orjson.dumps({"meta": {}, "files": {"a.py": about}})
    for text in (document, b"\xef\xbb\xbf" + document):
        assert read(tmp_path, text) == {"a.py": {1: COVERED}}


@pytest.mark.parametrize(
    "document",
    [
        b"{",
        b"{}",
        b'{"files": {}, "meta": 1}',
        b'{"/ci/main.js": {"statementMap": {}}}',
        b'{"meta": {}, "files": {}}',
        b'{"meta": {}, "files": {"a.py": 1}}',
        b'{"meta": {}, "files": {"a.py": {}}}',
        b'{"meta": {}, "files": {"a.py": {"executed_lines": ["1"], "missing_lines": []}}}',
        b'{"meta": {}, "files": {"a.py": {"executed_lines": [], "missing_lines": [],'
        b' "missing_branches": [[[]]]}}}',
        b'{"meta": {}, "files": {"a.py": {"executed_lines": [], "missing_lines": [],'
        b' "missing_branches": null}}}',
        b'{"meta": {}, "files": {"a.py": {"executed_lines": [], "missing_lines": [],'
        b' "missing_branches": 5}}}',
    ],
)
def test_other_json_is_refused(tmp_path: Path, document: bytes) -> None:
    assert problem(tmp_path, document)


# -- Cobertura and JaCoCo -------------------------------------------------------------------------


def test_cobertura_lines_come_from_hits_and_branches_from_conditions(tmp_path: Path) -> None:
    report = read(tmp_path, COBERTURA.format(source="/ci/build"))
    assert report == {"/ci/build/shop/Cart.cs": {**STATES, 10: COVERED, 11: PARTIAL, 12: COVERED}}


@pytest.mark.parametrize("source", ["", ".", "/a</source><source>/b"])
def test_names_are_unchanged_unless_there_is_one_source_folder(tmp_path: Path, source: str) -> None:
    assert list(read(tmp_path, COBERTURA.format(source=source))) == ["shop/Cart.cs"]


def test_an_absolute_name_is_unchanged(tmp_path: Path) -> None:
    text = COBERTURA.format(source="/ci").replace('"shop/Cart.cs"', '"/x/Cart.cs"')
    assert list(read(tmp_path, text)) == ["/x/Cart.cs"]


def test_jacoco_lines_come_from_instructions_and_branches(tmp_path: Path) -> None:
    assert read(tmp_path, JACOCO) == {
        "com/example/shop/Cart.java": {**STATES, 5: PARTIAL, 6: COVERED},
        "Main.java": {1: COVERED},
    }


@pytest.mark.parametrize("encoding", ["utf-8-sig", "iso-8859-1", "utf-16"])
def test_xml_is_read_in_its_declared_encoding(tmp_path: Path, encoding: str) -> None:
    name = encoding.removesuffix("-sig")
    text = JACOCO.replace("UTF-8", name).replace("Main.java", "Mäin.java")
    assert "Mäin.java" in read(tmp_path, text.encode(encoding))


BOMB = """<?xml version="1.0"?>
<!DOCTYPE report [<!ENTITY a "xxxxxxxxxx">{entities}]>
<report name="&z;"><package name="p"><sourcefile name="A.java">
<line nr="1" mi="0" ci="1" mb="0" cb="0"/></sourcefile></package></report>
"""


@pytest.mark.parametrize(
    "entities",
    [
        "".join(
            f'<!ENTITY {name} "{f"&{previous};" * 10}">'
            for previous, name in zip("abcdefghi", "bcdefghiz", strict=True)
        ),
        '<!ENTITY z SYSTEM "file:///etc/passwd">',
        '<!ENTITY % z SYSTEM "http://127.0.0.1:9/evil.dtd"> %z;',
        '<!ENTITY z "harmless">',
    ],
)
def test_a_document_that_declares_entities_is_refused(tmp_path: Path, entities: str) -> None:
    assert "declarations in its DOCTYPE" in problem(tmp_path, BOMB.format(entities=entities))


def test_an_entity_of_the_external_dtd_is_refused(tmp_path: Path) -> None:
    assert problem(tmp_path, JACOCO.replace('name="shop"', 'name="&shop;"'))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<coverage>", "not XML"),
        ("<html/>", "root"),
        ("<coverage><project name='clover'/></coverage>", "no source file"),
        (JACOCO.replace('nr="3"', 'nr="x"'), "line 11: 'x' is not a number"),
        (JACOCO.replace('nr="3"', ""), "nothing is not a number"),
        (JACOCO.replace('nr="3"', 'nr="' + "9" * 400 + '"'), "is not a number"),
        ("<?xml version='1.0' encoding='x-none'?><report/>", "not XML"),
        ("<?xml version='1.0' encoding='gbk'?><report/>", "not XML"),
        ("<report>" + "<a>" * 100_000, "not XML"),
    ],
)
def test_invalid_xml_is_an_error_with_its_line(tmp_path: Path, text: str, reason: str) -> None:
    assert reason in problem(tmp_path, text)


# -- lcov and the rest ----------------------------------------------------------------------------


def test_lcov_adds_up_the_records_of_several_tests(tmp_path: Path) -> None:
    assert read(tmp_path, LCOV) == {
        "src/cart.c": {**STATES, 5: COVERED, 6: UNCOVERED},
        "src/other.c": {1: COVERED},
    }


def test_lcov_may_begin_with_comments(tmp_path: Path) -> None:
    text = "# made by: a tool\n\n  # SF:no.c\n" + LCOV
    assert set(read(tmp_path, text)) == {"src/cart.c", "src/other.c"}


def test_lcov_with_windows_line_endings_and_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    text = "\ufeff" + LCOV.replace("\n", "\r\n")
    assert set(read(tmp_path, text)) == {"src/cart.c", "src/other.c"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SF:a.c\nDA:x,1\n", "line 2: 'x' is not a number"),
        ("SF:a.c\nDA:1\n", "line 2"),
        ("SF:a.c\nBRDA:1,0,0,x\n", "line 2"),
        (b"SF:a\xff.c\n", "UTF-8"),
        ("TN:\n", "no source file"),
        ("", "expected coverage.py"),
        ("hello", "lcov"),
        (b"\x00\x01\x02", "expected coverage.py"),
    ],
)
def test_invalid_lcov_and_other_files_are_errors(
    tmp_path: Path, text: str | bytes, reason: str
) -> None:
    assert reason in problem(tmp_path, text)


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path / "pipe", "not a file"),
        (tmp_path, "not a file"),
        (tmp_path / "none", "No such file"),
    ):
        with pytest.raises(UnreadableReport, match=reason):
            read_report(path)
