"""The tutorials' ``console`` blocks run as written, and print what the page shows.

A line ``$ command`` is run by one bash per page, in a fresh folder with the page's files; a command
goes on in the next line after a backslash. The lines below a command are its output, with ``…``
for any text, or alone in a line for any number of lines. A command without lines below it may print
what it likes. Every command must end with 0, unless ``$ echo $?`` below it shows another exit code.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.consumer_process import clean_environment

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("getting-started.md", "testing.md")
_FILE = re.compile(r"(?ms)^`(\S+)`:\n\n```\w+\n(.*?)^```$")
_BLOCK = re.compile(r"(?ms)^```console\n(.*?)^```$")
_MARK = "--- exit code"


@dataclass(frozen=True)
class Step:
    """One command of a page, and the output below it."""

    command: str
    shown: tuple[str, ...]

    @property
    def shows_exit_code(self) -> bool:
        return self.command == "echo $?"


def steps(text: str) -> list[Step]:
    """Read the commands of all ``console`` blocks, in order."""
    found: list[Step] = []
    for block in _BLOCK.findall(text):
        for part in re.split(r"(?m)^\$ ", block)[1:]:
            command = re.match(r"(?:.*\\\n)*.*", part)
            assert command is not None
            shown = part[command.end() :].strip("\n")
            found.append(Step(command[0], tuple(shown.splitlines())))
    return found


def pattern(shown: tuple[str, ...]) -> re.Pattern[str]:
    """Compile the expression that fits the output that a page shows."""
    lines = (
        r"(?:.*\n)*?" if line == "…" else r".*?".join(map(re.escape, line.split("…"))) + r"[ \t]*\n"
        for line in shown
    )
    return re.compile("".join(lines))


def run(commands: list[Step], folder: Path) -> list[tuple[int, str]]:
    """Run the commands in one bash; return the exit code and the output of each."""
    script = "".join(
        # The next command may ask for $?, so the code is restored after it is printed.
        f'{each.command}\n__code=$?; printf "\\n{_MARK} %s\\n" $__code; (exit $__code)\n'
        for each in commands
    )
    environment = clean_environment({"XDG_CONFIG_HOME": str(folder)})
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment.pop("CI", None)  # --update-recordings is refused there
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=150,
        check=False,
    )
    parts = re.split(rf"\n{_MARK} (\d+)\n", done.stdout)
    return [(int(code), output) for output, code in zip(parts[::2], parts[1::2], strict=False)]


def commands_of(name: str, folder: Path) -> list[Step]:
    """Write a page's files into the folder, and return its commands."""
    text = (ROOT / "docs" / name).read_text()
    for path, content in _FILE.findall(text):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return steps(text)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_s_commands_run_as_written(name: str, tmp_path: Path) -> None:
    commands = commands_of(name, tmp_path)
    assert commands
    results = run(commands, tmp_path)
    assert len(results) == len(commands), results[-1:]
    for step, following, (code, output) in zip(
        commands, [*commands[1:], None], results, strict=True
    ):
        is_shown = following is not None and following.shows_exit_code
        assert code == 0 or is_shown, f"{step.command} ended with {code}:\n{output}"
        if step.shown:
            fits = pattern(step.shown).fullmatch(output.rstrip("\n") + "\n")
            assert fits, f"{step.command} printed\n{output}"


def test_the_readme_s_test_passes_with_the_tutorial_s_recording(tmp_path: Path) -> None:
    (code,) = re.findall(r"(?ms)^```python\n(.*?)^```$", (ROOT / "README.md").read_text())
    record = [each for each in commands_of("testing.md", tmp_path) if "pytest" not in each.command]
    (tmp_path / "tests" / "test_readme.py").write_text(code)
    results = run([*record, Step("pytest -q tests/test_readme.py", ())], tmp_path)
    assert [code for code, _ in results] == [0] * (len(record) + 1), results[-1]


def test_an_output_that_differs_is_noticed() -> None:
    shown = ("one", "…", "delivered 2 in … s")
    assert pattern(shown).fullmatch("one\nmore\nand more\ndelivered 2 in 3.4 s\n")
    assert pattern(shown).fullmatch("one\ndelivered 2 in 3.4 s\n")
    assert not pattern(shown).fullmatch("one\ndelivered 3 in 3.4 s\n")
    assert not pattern(shown).fullmatch("zero\none\ndelivered 2 in 3.4 s\n")
    assert not pattern(shown).fullmatch("one\ndelivered 2 in 3.4 s\nand an error\n")


def test_a_command_that_fails_is_noticed(tmp_path: Path) -> None:
    page = "```console\n$ false\n$ echo $?\n1\n$ cd / && \\\n    pwd\n/\n$ ls missing\n```\n"
    commands = steps(page)
    assert commands[2] == Step("cd / && \\\n    pwd", ("/",))
    results = run(commands, tmp_path)
    assert [code for code, _ in results] == [1, 0, 0, 2]
    assert [output for _, output in results[:3]] == ["", "1\n", "/\n"]
