"""A stranger's project: the wheel and pytest in its environment, docs/testing.md as its tests."""

from __future__ import annotations

import re
from pathlib import Path
from shutil import copytree

import pytest

from tests.support.wheel import ROOT, install, run

DOCUMENT = ROOT / "docs" / "testing.md"
_FILE = re.compile(r"^`(\S+)`:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_RECORD = re.compile(r"^\$ python (\S+ consumer record (?:.*\\\n)*.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("strangers"), wheel, "pytest")


@pytest.fixture(scope="module")
def documented(bin_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's files, and a recording made by the page's command."""
    folder = tmp_path_factory.mktemp("documented")
    text = DOCUMENT.read_text()
    files = _FILE.findall(text)
    assert [name for name, _ in files] == ["./with_kafka.py", "./tests/test_checkout.py"]
    for name, code in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    (folder / "tests" / "recordings").mkdir()
    (command,) = _RECORD.findall(text)
    script, _, *arguments = command.replace("\\\n", " ").split()
    recorded = run(
        bin_folder / "python", script, str(bin_folder / "consumer"), *arguments, folder=folder
    )
    assert recorded.returncode == 0, recorded.stderr
    return folder


@pytest.fixture
def project(documented: Path, tmp_path: Path) -> Path:
    """A copy of that folder for one test."""
    return copytree(documented, tmp_path, dirs_exist_ok=True)


def test_the_documented_example_passes_and_a_wrong_expectation_is_shown(
    bin_folder: Path, project: Path
) -> None:
    # The test with a broker takes seconds, and has no expectation.
    quick = (bin_folder / "pytest", "-k", "not real_consumer")
    first = run(*quick, folder=project)
    assert first.returncode == 1, first.stdout
    assert "there is no expectation yet" in first.stdout

    written = run(*quick, "--update-recordings", folder=project)
    assert written.returncode == 0, written.stdout
    expected = project / "tests" / "recordings" / "checkout.recording.expected.json"
    assert f"consumer-fleet: written: {expected}" in written.stdout

    passed = run(bin_folder / "pytest", folder=project)
    assert passed.returncode == 0, passed.stdout
    assert "3 passed" in passed.stdout

    expected.write_text(expected.read_text().replace("card declined", "card accepted"))
    wrong = run(*quick, folder=project)
    assert wrong.returncode == 1, wrong.stdout
    shown = [" ".join(line.removeprefix("E").split()) for line in wrong.stdout.splitlines()]
    start = shown.index("--- expected")
    assert shown[start + 1 : start + 3] == ["+++ replayed", "@@ upstream: envelopes/0@0 @@"]
    assert '- "message": "card accepted"' in shown[start:]
    assert '+ "message": "card declined"' in shown[start:]
    assert "1 failed, 1 passed" in wrong.stdout


def test_a_wrong_assertion_is_shown_by_pytest_s_own_diff(bin_folder: Path, project: Path) -> None:
    path = project / "tests" / "test_checkout.py"
    path.write_text(path.read_text().replace('"empty_envelope": 1', '"empty_envelope": 2'))
    wrong = run(bin_folder / "pytest", "-k", "errors_of_checkout", folder=project)
    assert wrong.returncode == 1, wrong.stdout
    assert "assert {'empty_envelope': 1} == {'empty_envelope': 2}" in wrong.stdout


def test_the_plugin_is_found_without_being_named(bin_folder: Path, project: Path) -> None:
    fixtures = run(bin_folder / "pytest", "--fixtures", "-q", folder=project)
    assert fixtures.returncode == 0, fixtures.stderr
    for name in ("recording", "replay", "kafka_cluster"):
        assert re.search(rf"(?m)^{name} -- .*/pytest_plugin\.py", fixtures.stdout), name
    shown = run(bin_folder / "pytest", "--help", folder=project)
    assert "--update-recordings" in shown.stdout
    assert "consumer_fleet_recordings" in shown.stdout


# -- a project whose folders have the names of the checkout's --------------------------------------

# File → content. Each folder has a module and a test of its own.
_OWN_FILES = {
    "consumers/__init__.py": "",
    "consumers/checkout.py": '''\
"""The project's own consumer, and the codec of its messages."""

from consumer_fleet.codec import RawMessage
from consumer_fleet.consumers.registry import get


def decode(message: RawMessage):
    return get("envelopes").decode(message._replace(value=message.value.strip()))
''',
    "strategies/__init__.py": "",
    "strategies/backoff.py": "def delay_s(attempt):\n    return 2**attempt\n",
    "fleet/__init__.py": "",
    "fleet/ships.py": "SHIPS = ['Argo', 'Beagle']\n",
    "inspector/__init__.py": "",
    "inspector/gadget.py": "def inspect(thing):\n    return sorted(thing)\n",
    "consumers/tests/__init__.py": "",
    "consumers/tests/test_checkout.py": """\
from consumers import checkout

ENVELOPE = b'  {}\\n{"type":"event"}\\n{"message":"card declined"}\\n '


def test_the_own_codec_is_used(recording, replay):
    replayed = replay(recording.of([ENVELOPE], topic="checkout"), decode=checkout.decode)
    assert [each.event["message"] for each in replayed.envelopes["upstream"]] == ["card declined"]
    replayed.check("own_codec")
""",
    "strategies/test_backoff.py": """\
from strategies.backoff import delay_s


def test_delays_grow():
    assert [delay_s(attempt) for attempt in range(3)] == [1, 2, 4]
""",
    "fleet/test_ships.py": """\
from fleet.ships import SHIPS


def test_consumer_of_the_fleet_delivers(kafka_cluster):
    event = b'{"message":"%s"}' % SHIPS[0].encode()
    kafka_cluster.produce("envelopes", [b'{}\\n{"type":"event"}\\n' + event])
    run = kafka_cluster.run_consumer("envelopes")
    assert run.exit_code == 0, run.log
    assert [envelope.event["message"] for envelope in run.envelopes] == ["Argo"]
""",
    "inspector/test_gadget.py": """\
from inspector.gadget import inspect


def test_it_looks():
    assert inspect("ba") == ["a", "b"]
""",
    "tests/__init__.py": "",
    "tests/support.py": "NAMES = ('consumers', 'strategies', 'fleet', 'inspector', 'tests')\n",
    "tests/conftest.py": """\
import pytest

from tests.support import NAMES


@pytest.fixture
def names():
    return NAMES
""",
    "tests/test_imports.py": """\
import importlib
from pathlib import Path

import consumer_fleet.consumers
import consumer_fleet.strategies

ROOT = Path(__file__).parents[1]


def test_each_name_is_the_project_s(names):
    for name in names:
        assert Path(importlib.import_module(name).__file__) == ROOT / name / "__init__.py"


def test_the_package_has_its_own_folders():
    for module in (consumer_fleet.consumers, consumer_fleet.strategies):
        assert ROOT not in Path(module.__file__).parents
""",
}


@pytest.fixture
def own_project(tmp_path: Path) -> Path:
    """A project with top-level folders consumers, strategies, fleet, inspector and tests."""
    for name, content in _OWN_FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


@pytest.mark.parametrize("command", [("pytest",), ("python", "-m", "pytest")])
def test_a_project_may_have_folders_of_any_name(
    bin_folder: Path, own_project: Path, command: tuple[str, ...]
) -> None:
    program = (bin_folder / command[0], *command[1:])
    quick = run(*program, "-q", "consumers", "--update-recordings", folder=own_project)
    assert quick.returncode == 0, quick.stdout + quick.stderr
    expected = own_project / "consumers/tests/recordings/own_codec.expected.json"
    assert "card declined" in expected.read_text()

    passed = run(*program, "-q", folder=own_project)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "6 passed" in passed.stdout
