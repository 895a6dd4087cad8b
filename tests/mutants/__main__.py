"""``make mutants``: plant one bug at a time, and see that a test without Kafka notices it."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.mutants.patches import Mutant, all_mutants

ROOT = Path(__file__).resolve().parents[2]
_EVERY_TEST: Final = ("tests/unit", "tests/contract")
# pytest's exit codes: all passed, some failed.
_PASSED, _FAILED = 0, 1
_TIMEOUT_S = 120.0
_FAILURE = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant. ``word`` is caught, hung, equivalent, survived or broken."""

    mutant: Mutant
    word: str
    by: str
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        return self.word in ("caught", "hung", "equivalent")


def main() -> int:
    given = _parse()
    mutants = [
        each
        for each in all_mutants()
        if not given.names or any(n in each.name for n in given.names)
    ]
    if not mutants:
        print(f"mutants: no patch is named {' '.join(given.names)!r}", file=sys.stderr)
        return 2
    started = time.monotonic()
    with _trees(given.processes) as trees:
        healthy = _pytest(trees[0], _named_tests(mutants, everything=given.full), stop=False)
        if healthy.returncode != _PASSED:
            print(healthy.stdout[-4000:], file=sys.stderr)
            print("mutants: these tests fail without a planted bug", file=sys.stderr)
            return 1
        verdicts = _judge_all(mutants, trees, everything=given.full)
    Console(width=140).print(_table(verdicts))
    bad = [each for each in verdicts if not each.holds]
    caught = sum(each.word in ("caught", "hung") for each in verdicts)
    equivalent = sum(each.word == "equivalent" for each in verdicts)
    print(
        f"{caught} of {len(verdicts) - equivalent} caught, {equivalent} equivalent, "
        f"{time.monotonic() - started:.0f} s"
    )
    for each in bad:
        print(f"{each.mutant.path.relative_to(ROOT)}: {each.word}: {each.by}", file=sys.stderr)
    return 1 if bad else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of patches' names; default all")
    parser.add_argument("--full", action="store_true", help="run every test without Kafka")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


@contextmanager
def _trees(count: int) -> Iterator[list[Path]]:
    """Copies of the working tree, tracked files only: the user's own tree stays as it is."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = [name for name in listed.stdout.decode().split("\0") if name]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees = [Path(folder, str(number)) for number in range(count)]
        for tree in trees:
            for name in names:
                source, target = ROOT / name, tree / name
                if source.is_symlink() or source.is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(source, target, follow_symlinks=False)
        yield trees


def _named_tests(mutants: Sequence[Mutant], *, everything: bool) -> list[str]:
    if everything:
        return list(_EVERY_TEST)
    return sorted({test for each in mutants for test in each.tests})


def _pytest(
    tree: Path, tests: Sequence[str], *, stop: bool = True
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not timed", "-p", "no:cacheprovider"]
    command += ["--tb=no", "-rfE", *(["-x"] if stop else ["-n", "2"]), *tests]
    return subprocess.run(
        command,
        cwd=tree,
        # Before the installed package, also in the processes that tests start.
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S if stop else None,
    )


def _judge_all(
    mutants: Sequence[Mutant], trees: Sequence[Path], *, everything: bool
) -> list[Verdict]:
    free: SimpleQueue[Path] = SimpleQueue()
    for tree in trees:
        free.put(tree)

    def judge(mutant: Mutant) -> Verdict:
        tree = free.get()
        try:
            verdict = _judge(mutant, tree, everything=everything)
        finally:
            free.put(tree)
        print(f"… {mutant.name}: {verdict.word} ({verdict.by})", flush=True)
        return verdict

    with ThreadPoolExecutor(len(trees)) as pool:
        return list(pool.map(judge, mutants))


def _judge(mutant: Mutant, tree: Path, *, everything: bool) -> Verdict:
    why_not = mutant.apply(tree)
    if why_not is not None:
        return Verdict(mutant, "broken", f"does not apply: {why_not}")
    started = time.monotonic()
    try:
        if mutant.equivalent is not None:
            return Verdict(mutant, "equivalent", mutant.equivalent)
        _forget_bytecode(mutant, tree)
        run = _pytest(tree, _EVERY_TEST if everything else mutant.tests)
    except subprocess.TimeoutExpired:
        return Verdict(mutant, "hung", f"after {_TIMEOUT_S:.0f} s", time.monotonic() - started)
    finally:
        why_not = mutant.apply(tree, "-R")
        assert why_not is None, why_not
        _forget_bytecode(mutant, tree)
    seconds = time.monotonic() - started
    if run.returncode == _PASSED:
        return Verdict(mutant, "survived", "no test noticed it", seconds)
    noticed = _FAILURE.search(run.stdout)
    if run.returncode != _FAILED or noticed is None:
        return Verdict(mutant, "broken", f"pytest ended with {run.returncode}", seconds)
    return Verdict(mutant, "caught", noticed[1].rpartition("::")[2], seconds)


def _forget_bytecode(mutant: Mutant, tree: Path) -> None:
    """Python tells a changed file by its second and size, which a small patch may keep."""
    for name in mutant.changed:
        path = (tree / name).resolve()
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()


def _table(verdicts: Sequence[Verdict]) -> Table:
    table = Table("planted bug", "the promise that it breaks", "", "noticed by", "s")
    for each in verdicts:
        table.add_row(
            each.mutant.name, each.mutant.promise, each.word, each.by, f"{each.seconds:.1f}"
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
