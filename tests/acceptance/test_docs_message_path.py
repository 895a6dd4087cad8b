"""CONTRIBUTING follows a message through the source by file names alone."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path

from tests.support.consumer_process import CONSUMER, clean_environment

ROOT = Path(__file__).resolve().parents[2]
MAX_FILES = 22
EXAMPLE_MESSAGES = 2_000  # of the demonstration


def path_of_a_message() -> list[str]:
    """Return the files that CONTRIBUTING names, in its order."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.search(r"(?ms)^## Follow a message\n(.*?)(?=^## )", page)
    assert found is not None
    return re.findall(r"`((?:consumer_fleet|consumers|strategies)/[\w/]+\.py)`", found[1])


def imported_by(path: str) -> set[str]:
    """Return the files of the package that a file imports, in its functions too."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    files = (f"{name.replace('.', '/')}.py" for name in names)
    return {file.removeprefix("consumer_fleet/") for file in files}


def test_the_path_is_short_and_never_goes_back() -> None:
    path = path_of_a_message()
    assert path[0] == "consumer_fleet/run/run.py"
    assert "consumer_fleet/capture/destination.py" in path
    assert len(path) <= MAX_FILES
    assert len(set(path)) == len(path)


def test_each_file_imports_an_earlier_one_or_is_imported_by_it() -> None:
    path = path_of_a_message()
    imports = {each: imported_by(each) for each in path}
    for number, file in enumerate(path[1:], start=1):
        short = file.removeprefix("consumer_fleet/")
        assert any(
            short in imports[earlier] or earlier.removeprefix("consumer_fleet/") in imports[file]
            for earlier in path[:number]
        ), f"nothing on the path leads to {file}"


# Counts the calls of each file's functions in every process, and writes them at the process's end.
_COUNT_CALLS = """
import atexit, collections, json, multiprocessing.util, os, pathlib, sys

calls = collections.Counter()

def count(frame, event, argument):
    if event == "call":
        calls[frame.f_code.co_filename, frame.f_code.co_name] += 1

def dump():
    sys.setprofile(None)
    most = {}
    for (file, name), number in calls.items():
        if name != "<module>":
            most[file] = max(most.get(file, 0), number)
    path = pathlib.Path(os.environ["CALLS_FOLDER"], f"{os.getpid()}.json")
    part = path.with_suffix(".part")
    part.write_text(json.dumps(most))
    part.rename(path)

sys.setprofile(count)
atexit.register(dump)
multiprocessing.util.Finalize(None, dump, exitpriority=1)
"""


def test_it_names_every_file_of_a_worker_that_runs_for_each_message(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_COUNT_CALLS)
    calls = tmp_path / "calls"
    calls.mkdir()
    environment = clean_environment({"PYTHONPATH": str(tmp_path), "CALLS_FOLDER": str(calls)})
    command = (CONSUMER, "run", "--topic", "ingest-events", "--workers", "1", "--stop-at-end")
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=100)
    (worker,) = (
        found
        for found in (json.loads(path.read_text()) for path in calls.glob("*.json"))
        if any(file.endswith("/worker/loop.py") and n > 100 for file, n in found.items())
    )
    package = f"{ROOT}/consumer_fleet/"
    busy = {
        file.removeprefix(package)
        for file, number in worker.items()
        if file.startswith(package) and number >= EXAMPLE_MESSAGES
    }
    named = {file.removeprefix("consumer_fleet/") for file in path_of_a_message()}
    assert "capture/destination.py" in busy
    assert busy <= named
