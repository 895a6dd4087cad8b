"""The documentation agrees with the code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from consumer_fleet import errors
from consumer_fleet.bootstrap.option_checks import delivery_mode
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.cli import main
from consumer_fleet.config_command import example_yaml
from consumer_fleet.consumers import registry
from consumer_fleet.metrics import DEFINITIONS
from tests.support.consumer_process import clean_environment
from tests.support.requirements import require

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(path for path in DOCS.rglob("*.md") if not path.is_symlink()),
]
PACKAGES = ("consumer_fleet", "consumers", "strategies")
PROSE = [page for page in PAGES if page.name != "metrics.md"]
_DLQ_HEADERS = {
    "reason",
    "detail",
    "topic",
    "partition",
    "offset",
    "timestamp_ms",
    "group",
    "due_ms",
}


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def section(page: Path, title: str) -> str:
    """Return the text below a heading of the second level, up to the next one."""
    found = re.search(rf"(?ms)^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page.read_text())
    assert found is not None, f"{page.name} has no section {title!r}"
    return found[1]


def fenced(page: Path, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", page.read_text())


def code_spans(page: Path) -> set[str]:
    without_blocks = re.sub(r"(?ms)^```.*?^```$", "", page.read_text())
    return set(re.findall(r"`([^`\n]+)`", without_blocks))


def tracked_files() -> list[Path]:
    """List the project's files: tracked, or new and not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        require("the git checkout", str(error))
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 120


def test_the_first_commands_are_make_targets_with_help() -> None:
    commands = re.findall(r"(?m)^make (\w+)", section(README, "Try it"))
    assert commands == ["run", "test"]
    environment = clean_environment()
    helped = subprocess.run(
        ["make", "help"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    for page in PROSE:
        for target in re.findall(r"(?m)(?:^|`)make (\w+)", page.read_text()):
            assert re.search(rf"(?m)^  {target} +\S", helped), f"{page.name}: make {target}"


def test_the_example_configuration_is_accepted_and_delivers_to_both(tmp_path: Path) -> None:
    (example,) = fenced(DOCS / "getting-started.md", "yaml")
    path = tmp_path / "config.yml"
    path.write_text(example)
    resolved = resolve_options(OptionsRequest(config=path), {})
    assert delivery_mode(resolved.options) == "real"
    assert resolved.options.upstream_dsn is not None
    assert resolved.options.saas_dsn is not None
    assert resolved.options.kafka_config["security.protocol"] == "SASL_SSL"


def test_the_exit_codes_are_those_of_the_program() -> None:
    table = section(DOCS / "operations.md", "Exit codes")
    listed = {int(code) for code in re.findall(r"(?m)^\| (\d+) \|", table)}
    defined = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert listed == defined
    told = CliRunner().invoke(main, ["--help"]).output
    for code in listed:
        assert re.search(rf"\b{code}\b", told)


def test_every_consumer_and_its_group_are_listed() -> None:
    page = (DOCS / "consumers.md").read_text()
    rows = re.findall(r"(?m)^\| `([\w-]+)` \| `([\w-]+)` \|", page)
    assert rows == [(each.name, each.default_group) for each in registry.CONSUMERS]


def test_the_consumer_of_another_distribution_works_as_documented(tmp_path: Path) -> None:
    page = DOCS / "consumers.md"
    (entry_point,) = fenced(page, "toml")
    (module,) = fenced(page, "python")
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").touch()
    (tmp_path / "my_package" / "mobile.py").write_text(module)
    metadata = tmp_path / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    group, entry = entry_point.strip().splitlines()
    group = group.removeprefix('[project.entry-points."').removesuffix('"]')
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{entry.replace(chr(34), '')}\n")

    script = """
from consumer_fleet.codec import RawMessage
from consumer_fleet.consumers.registry import get, names
assert names()[-1] == "mobile-envelopes"
value = b'{}\\n{"type":"event"}\\n{}'
print(get("mobile-envelopes").decode(RawMessage("mobile", 0, 0, None, value)).items[0].type)
"""
    environment = clean_environment({"PYTHONPATH": str(tmp_path)})
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert run.stdout == "event\n", run.stderr


def test_the_list_of_options_is_the_programs_own() -> None:
    (listed,) = fenced(DOCS / "options.md", "yaml")
    assert listed == example_yaml(), "run: make docs"
    for name in Options.model_fields:
        assert re.search(rf"(?m)^#{name}: ", listed)


@pytest.mark.parametrize("page", PROSE, ids=page_id)
def test_flags_and_variables_exist(page: Path) -> None:
    text = page.read_text()
    commands = re.findall(r"consumer (run|config|list)\b((?:[^\n`]|\\\n)*)", text)
    for command, arguments in commands:
        told = CliRunner().invoke(main, [command, "--help"]).output
        for flag in re.findall(r"(?<!\S)--[a-z-]+", arguments):
            assert re.search(rf"{flag}\b(?!-)", told), f"consumer {command} {flag}"
    for variable in re.findall(r"\bCONSUMER_([A-Z_]+[A-Z])\b(?!=|_)", text):
        if variable in ("CONF", "NAME", "PORT") or variable.startswith("KAFKA_CONFIG_"):
            continue
        assert variable.lower() in Options.model_fields, f"CONSUMER_{variable}"


@pytest.mark.parametrize("page", PROSE, ids=page_id)
def test_metrics_exist(page: Path) -> None:
    declared = {metric.name for metric in DEFINITIONS}
    groups = {name.split(".")[0] for name in declared}
    named = {
        span
        for span in code_spans(page)
        if re.fullmatch(r"[a-z]+(\.[a-z_]+)+", span) and span.split(".")[0] in groups
    }
    headers = {span for span in named if span.removeprefix("dlq.") in _DLQ_HEADERS}
    assert named - headers <= declared


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"(?m)^#+ (.+)$", file.read_text())
            slugs = {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}
            assert anchor in slugs, target


def test_every_decision_is_listed_with_its_title() -> None:
    folder = DOCS / "decisions"
    records = {
        (path.name, *path.read_text().splitlines()[0].removeprefix("# ").split(" ", 1))
        for path in folder.glob("0*.md")
    }
    rows = re.findall(
        r"(?m)^\| \[(\d+)\]\(([^)]+)\) \| (.+) \|$", (folder / "index.md").read_text()
    )
    assert {(name, number, title) for number, name, title in rows} == records


@pytest.mark.parametrize("page", PROSE, ids=page_id)
def test_files_that_are_named_exist(page: Path) -> None:
    tops = "|".join([*PACKAGES, "docs", "tests", "bench", "deploy", "requirements"])
    for path in re.findall(rf"(?<![\w/-])((?:{tops})/[\w./-]*\w)", page.read_text()):
        assert (ROOT / path).exists(), path


def logged_events() -> Iterator[str]:
    """Yield the event of every log call in the packages, as far as it is a literal."""
    calls = ("info", "warning", "error", "exception", "_log_pause", "_complain", "_warn")
    for path in (each for package in PACKAGES for each in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            first = node.args[0] if node.args else None
            is_call = node.func.attr in calls
            if is_call and isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def test_every_log_event_is_explained_and_no_other() -> None:
    rows = re.findall(r"(?m)^\| (`.+?) \| ([a-z, ]+) \|", section(DOCS / "operations.md", "Logs"))
    explained = {event for events, _ in rows for event in re.findall(r"`(\w+)`", events)}
    assert explained == set(logged_events())


# Spelled in pieces, so that this file is not found by its own search. The project speaks of itself:
# a number in some tracker means nothing to whoever reads it here.
_NOT_HERE = {
    "an issue's number": r"\b[\w-]+" + "#" + r"\d{2,}\b|\(" + "#" + r"\d+\)|/(?:issues|pull)/\d+",
}


@pytest.mark.parametrize("what", _NOT_HERE)
def test_nothing_names(what: str) -> None:
    pattern = re.compile(_NOT_HERE[what])
    found = []
    for path in tracked_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


def test_the_search_would_find_them() -> None:
    samples = {
        "an issue's number": "fixes arroyo" + "#97",
    }
    for what, pattern in _NOT_HERE.items():
        assert re.search(pattern, samples[what]), what
