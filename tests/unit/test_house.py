"""Rules for the whole repository: sizes, imports, names and language.

They are unit tests, not a command of ``make check``, so that every run of the unit tests and every
rebase shows a new violation at once, with its file and line.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.mutants.patches import Mutant, all_mutants
from tests.support.requirements import require

ROOT = Path(__file__).resolve().parents[2]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
MAX_PARAMETERS = 7

# Names of classes that the package may hold twice: a protocol and its implementation.
SHARED_CLASS_NAMES = {"Ticket"}

_ABOUT_THE_REPOSITORY = {
    ROOT / "tests" / "unit" / f"test_{name}" for name in ("house", "requirements")
}

RETIRED = {
    "fix": r"mend(?:s|ed|ing)?",
    "again, or re-…": r"anew",
    "forever, or without limit": r"for ever",
    "leaves the group": r"tak(?:es?|ing) leave",
    "requires confirmation": r"would be refused without",
    "refresh": r"look(?:s|ing)? again and again",
    "evicted, or no longer stored": r"made room for",
    "at the original pace": r"at the distances of",
    "message format": r"whose messages they are",
    "is invalid because …": r"makes? no sense",
    "unassigned, or has no owner": r"none's|nobody's",
    "is not a …, or invalid": r"(?:that|what|which|and|of it) (?:is|are) none",
    "the correct plural": r"[a-z]+\(s\)",
}
_ANY_RETIRED = re.compile(rf"(?<![\w-])(?:{'|'.join(RETIRED.values())})(?!\w)", re.IGNORECASE)
_RETIRED = {
    instead: re.compile(rf"(?<![\w-])(?:{words})(?!\w)", re.IGNORECASE)
    for instead, words in RETIRED.items()
}
# Words of the license and of lock files are not ours, and this file lists the retired ones.
NOT_OUR_WORDS = {"LICENSE", "package-lock.json", "go.sum", "test_house.py"}

# jane is the user in recorded events.
_DEVELOPERS_PATH = re.compile(r"(?<![\w.])/(?:work|root|(?:home|Users)/(?!jane/)\w+)/")


@cache
def tracked() -> tuple[Path, ...]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        require("git", "the rules hold for tracked files")
    listed = subprocess.run(
        [git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return tuple(path for path in paths if path.is_file() and not path.is_symlink())


@cache
def production() -> dict[str, Path]:
    """The package's files by module name; the links count as what they lead to."""
    files = {}
    for path in tracked():
        parts = path.relative_to(ROOT).with_suffix("").parts
        if path.suffix == ".py" and parts[0] in ("consumer_fleet", "consumers", "strategies"):
            package = () if parts[0] == "consumer_fleet" else ("consumer_fleet",)
            files[".".join((*package, *parts)).removesuffix(".__init__")] = path
    return files


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in production().values():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def where(path: Path, line: int = 1) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def assert_none(violations: list[str]) -> None:
    if violations:
        pytest.fail("\n".join(violations), pytrace=False)


def test_no_production_file_has_more_than_400_lines() -> None:
    assert_none(
        [
            f"{where(path)}: {lines} lines"
            for path in production().values()
            if (lines := len(path.read_text().splitlines())) > MAX_FILE_LINES
        ]
    )


def test_a_function_of_more_than_40_lines_has_a_comment_with_the_reason_beside_it() -> None:
    assert_none(
        [
            f"{where(path, node.lineno)}: {node.name} has {lines} lines, and no comment above"
            " the function or its first statement"
            for path, node in functions()
            if (lines := _lines(node)) > MAX_FUNCTION_LINES and not _has_comment(path, node)
        ]
    )


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _has_comment(path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a comment is directly above the function, or directly above its first statement."""
    lines = path.read_text().splitlines()
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    has_docstring = ast.get_docstring(node) is not None and len(node.body) > 1
    statement = node.body[1 if has_docstring else 0]
    return any(lines[line - 2].lstrip().startswith("#") for line in (first, statement.lineno))


def test_no_function_has_more_than_7_parameters() -> None:
    assert_none(
        [
            f"{where(path, node.lineno)}: {node.name} has {count} parameters"
            for path, node in functions()
            if (count := len(_parameters(node.args))) > MAX_PARAMETERS
        ]
    )


def _parameters(arguments: ast.arguments) -> list[str]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [each.arg for each in every if each.arg not in ("self", "cls")]


def test_no_modules_import_each_other_in_a_circle_even_inside_functions() -> None:
    graph = {module: _imported(path) - {module} for module, path in production().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


def _imported(path: Path) -> set[str]:
    """The package's modules that a file imports, wherever in the file and for whatever reason."""
    modules = production()
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & modules.keys()
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            found |= {
                name
                for alias in node.names
                if (name := f"{base}.{alias.name}") in modules or (name := base) in modules
            }
    return found


def test_no_two_classes_of_the_package_share_a_name() -> None:
    homes = defaultdict(list)
    for path in production().values():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(where(path, node.lineno))
    assert_none(
        [
            f"{name}: {', '.join(places)}"
            for name, places in homes.items()
            if len(places) > 1 and name not in SHARED_CLASS_NAMES
        ]
    )


def test_unit_tests_mirror_the_source() -> None:
    """``tests/unit/<package>/test_<module>[_<aspect>].py``"""
    unit = ROOT / "tests" / "unit"
    assert_none(
        [
            f"{where(path)}: no such module"
            for path in tracked()
            if path.is_relative_to(unit)
            and path.name.startswith("test_")
            and path.parent / path.stem not in _ABOUT_THE_REPOSITORY
            and not _has_module(path.relative_to(unit))
        ]
    )


@pytest.mark.parametrize("mutant", all_mutants(), ids=lambda mutant: mutant.name)
def test_every_planted_bug_applies_and_names_tests_that_exist(mutant: Mutant) -> None:
    assert mutant.apply(ROOT, "--check") is None
    assert [name for name in mutant.tests if not (ROOT / name.split("::")[0]).exists()] == []


def test_there_are_sixty_planted_bugs_or_more() -> None:
    assert sum(each.equivalent is None for each in all_mutants()) >= 60


def _has_module(test: Path) -> bool:
    source = ROOT if test.parts[0] == "bench" else ROOT / "consumer_fleet"
    words = test.stem.removeprefix("test_").split("_")
    names = ("_".join(words[:count]) for count in range(1, len(words) + 1))
    return any((source / test.parent / f"{name}.py").exists() for name in names)


def test_no_text_uses_a_retired_word() -> None:
    found = []
    for path, text in _texts():
        # Most texts have none: one look at the whole costs a third of a look for each.
        if path.name in NOT_OUR_WORDS or not _ANY_RETIRED.search(text):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            found += [
                f"{where(path, number)}: {match[0]!r} → {instead}"
                for instead, pattern in _RETIRED.items()
                if (match := pattern.search(line))
            ]
    assert_none(found)


def test_no_text_names_a_path_of_a_developers_machine() -> None:
    developers_path = re.compile(rf"{re.escape(str(ROOT))}|{_DEVELOPERS_PATH.pattern}")
    found = [
        f"{where(path, number)}: {match[0]}"
        for path, text in _texts()
        if path.name != "test_house.py"
        for number, line in enumerate(text.splitlines(), 1)
        if (match := developers_path.search(line))
    ]
    assert_none(found)


def test_no_tracked_file_is_larger_than_a_picture() -> None:
    """A recording that a command has left behind would be in every clone."""
    sizes = {path: path.stat().st_size for path in tracked()}
    assert_none(
        [f"{where(path)}: {size:,} bytes" for path, size in sizes.items() if size > 500_000]
    )


def _texts() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        try:
            yield path, path.read_text()
        except UnicodeDecodeError:
            continue  # a picture or a recording
