"""The files of unfinished assemblies: whole contents, one directory per run, none left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer_fleet.errors import OutputError
from consumer_fleet.worker.assemblies import Piece
from consumer_fleet.worker.assembly_files import AssemblyDirectory, AssemblyFiles


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[AssemblyDirectory]:
    made = AssemblyDirectory(tmp_path)
    yield made
    made.close()


@pytest.fixture
def files(directory: AssemblyDirectory) -> AssemblyFiles:
    return AssemblyFiles(directory.path)


def test_a_blob_is_joined_from_the_middle_of_its_messages(files: AssemblyFiles) -> None:
    pieces = []
    for number, content in enumerate([b"first ", b"", b"second"]):
        piece, size = files.store((3, number), b"<<%b>>" % content, content)
        assert size == 4096
        pieces.append(piece)
    assert files.join(pieces) == b"first second"
    assert files.read((3, 2), 10) == b"<<second>>"


def test_a_large_blob_has_the_same_bytes(files: AssemblyFiles) -> None:
    contents = [os.urandom(700_000 + number) for number in range(4)]
    pieces = []
    for number, content in enumerate(contents):
        piece, size = files.store((0, number), b"before" + content + b"after", content)
        assert size % 4096 == 0
        assert size >= len(content)
        pieces.append(piece)
    joined = files.join(pieces)
    assert len(joined) == sum(len(content) for content in contents)
    assert b"".join([b"(", joined, b")"]) == b"(" + b"".join(contents) + b")"


def test_a_content_that_is_not_in_the_value_follows_it(files: AssemblyFiles) -> None:
    piece, _ = files.store((0, 1), b"as Kafka has it", b"as it was prepared")
    assert files.join([piece]) == b"as it was prepared"
    assert files.read((0, 1), 15) == b"as Kafka has it"


def test_a_message_that_is_stored_again_replaces_itself(files: AssemblyFiles) -> None:
    files.store((0, 1), b"longer than that", b"longer")
    piece, _ = files.store((0, 1), b"short", b"short")
    assert files.join([piece]) == b"short"


def test_a_removed_message_can_be_removed_again(
    files: AssemblyFiles, directory: AssemblyDirectory
) -> None:
    files.store((0, 1), b"x", b"x")
    for _ in range(2):
        files.remove((0, 1))
    assert list(directory.path.iterdir()) == []


def test_what_the_disk_refuses_is_an_error_that_names_the_directory(files: AssemblyFiles) -> None:
    missing = Piece((0, 9), 0, 3)
    with pytest.raises(OutputError, match=r"consumer-fleet-assemblies-.*assembly_dir"):
        files.read((0, 9), 3)
    with pytest.raises(OutputError, match=r"consumer-fleet-assemblies-.*assembly_dir"):
        files.join([missing])


def test_a_directory_goes_with_its_run(tmp_path: Path) -> None:
    made = AssemblyDirectory(tmp_path)
    AssemblyFiles(made.path).store((0, 1), b"x", b"x")
    made.close()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_run_are_removed_and_a_live_one_is_not(tmp_path: Path) -> None:
    live = AssemblyDirectory(tmp_path)
    left = tmp_path / "consumer-fleet-assemblies-left"
    left.mkdir()
    (left / "0-1").write_bytes(b"x")
    other = tmp_path / "other"
    other.mkdir()
    link = tmp_path / "consumer-fleet-assemblies-link"
    link.symlink_to(other)
    made = AssemblyDirectory(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([live.path, made.path, other, link])
    made.close()
    live.close()


def test_a_directory_that_can_not_be_made_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="assembly_dir"):
        AssemblyDirectory(tmp_path / "missing")
