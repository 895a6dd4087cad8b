"""A stranger's project: the wheel and pytest in its environment, docs/testing.md as its tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.wheel import ROOT, install, run

DOCUMENT = ROOT / "docs" / "testing.md"
_FILE = re.compile(r"^`(\S+)`:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_RECORD = re.compile(r"^\$ python (\S+ consumer record (?:.*\\\n)*.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("strangers"), wheel, "pytest")


@pytest.fixture
def project(bin_folder: Path, tmp_path: Path) -> Path:
    """A folder with the page's files, and a recording made by the page's command."""
    text = DOCUMENT.read_text()
    files = _FILE.findall(text)
    assert [name for name, _ in files] == ["./with_kafka.py", "./tests/test_checkout.py"]
    for name, code in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    (tmp_path / "tests" / "recordings").mkdir()
    (command,) = _RECORD.findall(text)
    script, _, *arguments = command.replace("\\\n", " ").split()
    recorded = run(
        bin_folder / "python", script, str(bin_folder / "consumer"), *arguments, folder=tmp_path
    )
    assert recorded.returncode == 0, recorded.stderr
    return tmp_path


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
