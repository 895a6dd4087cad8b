"""The distributions: their files, and the wheel installed away from the checkout."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from consumer_fleet.bootstrap.options import Options
from tests.support.wheel import ROOT, build_wheel, install, run, unpacked_sdist


@pytest.fixture(scope="module")
def consumer(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed command, in an environment of its pinned dependencies alone."""
    return install(tmp_path_factory.mktemp("installed"), wheel) / "consumer"


def test_the_wheel_adds_one_import_name_its_types_and_the_license(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata_name,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = message_from_bytes(archive.read(metadata_name))
    dist_info = metadata_name.split("/")[0]
    assert {name.split("/")[0] for name in names} == {"consumer_fleet", dist_info}
    assert not [name for name in names if re.search(r"(^|/)(test_|tests/|conftest)", name)]
    assert "consumer_fleet/py.typed" in names
    assert f"{dist_info}/licenses/LICENSE" in names
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra", [])) == {"br", "coverage", "django"}


def test_the_wheel_has_the_files_behind_the_links_to_the_top_level_folders(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    for folder in ("consumers", "strategies"):
        for path in (ROOT / folder).glob("*.py"):
            assert packed[f"consumer_fleet/{folder}/{path.name}"] == path.read_bytes()


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    source = unpacked_sdist(tmp_path)
    again = build_wheel(tmp_path / "dist", source)
    with zipfile.ZipFile(wheel) as ours, zipfile.ZipFile(again) as theirs:
        assert sorted(ours.namelist()) == sorted(theirs.namelist())
        for name in ours.namelist():
            assert ours.read(name) == theirs.read(name), name


@pytest.mark.parametrize("page", ["index", "fleet"])
def test_the_wheel_has_each_page_whole_small_and_with_its_licences(wheel: Path, page: str) -> None:
    bundle = "consumer_fleet/inspector/bundle"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        html = archive.read(f"{bundle}/{page}.html").decode()
        assets = set(re.findall(r'(?:src|href)="\.?/?(assets/[^"]+)"', html))
        contents = [archive.read(f"{bundle}/{name}") for name in assets]
    assert {Path(name).suffix for name in assets} >= {".js", ".css"}
    assert sum(len(gzip.compress(each)) for each in contents) <= 250_000
    assert f"{bundle}/THIRD-PARTY-LICENSES.txt" in names
    assert "consumer_fleet/inspector/demo_data/coverage.lcov" in names
    assert not [name for name in names if name.startswith("consumer_fleet/inspector/web/")]


def test_the_installed_demonstration_delivers(consumer: Path, tmp_path: Path) -> None:
    done = run(consumer, "run", "--topic", "events", "--stop-at-end", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    delivered = re.search(r"(?m)^delivered ([\d,]+),", done.stdout)
    assert delivered is not None, done.stdout + done.stderr
    assert int(delivered[1].replace(",", "")) > 0
    # A demonstration keeps nothing on disk.
    assert list(tmp_path.iterdir()) == []


def test_the_installed_command_lists_and_shows(consumer: Path, tmp_path: Path) -> None:
    listed = run(consumer, "list", folder=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "ingest-events" in listed.stdout

    shown = run(consumer, "config", "--json", folder=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout).keys() == Options.model_fields.keys()

    version = run(consumer, "--version", folder=tmp_path)
    project = re.search(r'(?m)^version = "(.+)"$', (ROOT / "pyproject.toml").read_text())
    assert project is not None
    assert version.returncode == 0, version.stderr
    assert project[1] in version.stdout


def test_an_encoding_without_its_extra_is_refused_at_start(consumer: Path, tmp_path: Path) -> None:
    done = run(
        consumer,
        *("run", "--topic", "events", "--stop-at-end", "--set", "upstream_compression=br"),
        folder=tmp_path,
    )
    assert done.returncode == 78, done.stderr
    assert "brotli" in done.stderr
