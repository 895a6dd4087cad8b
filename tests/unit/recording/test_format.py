"""A recording returns what was written, and every complete block if it is damaged."""

from __future__ import annotations

import errno
import io
import os
import random
import re
import zlib
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zstandard

from consumer_fleet.errors import OutputError, RecordingError
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.recording.format import (
    MAX_MESSAGE_BYTES,
    MAX_PARTITIONS,
    RecordingHeader,
    pack_header,
    pack_part,
)
from consumer_fleet.recording.reader import Recording
from consumer_fleet.recording.writer import RecordingWriter
from tests.support.recordings import HEADER, Pair, random_pairs, write_recording


def read_until_error(path: Path) -> tuple[list[Pair], RecordingError | None]:
    found: list[Pair] = []
    try:
        found.extend(Recording(path).messages())
    except RecordingError as error:
        return found, error
    return found, None


def walk(path: Path) -> list[tuple[int, int, list[Any]]]:
    """As any msgpack library sees the file: (start, end, array)."""
    with path.open("rb") as file:
        unpacker = msgpack.Unpacker(file)
        parts, start = [], 0
        for part in unpacker:
            parts.append((start, unpacker.tell(), part))
            start = unpacker.tell()
        return parts


@pytest.mark.parametrize("seed", range(8))
def test_every_message_comes_back_as_it_was(tmp_path: Path, seed: int) -> None:
    pairs = random_pairs(seed, 500)
    path = write_recording(tmp_path / "r", pairs, batch=random.Random(seed).randrange(1, 200))
    assert list(Recording(path).messages()) == pairs


def test_the_header_comes_back_and_keeps_what_it_does_not_know(tmp_path: Path) -> None:
    header = RecordingHeader(
        topic="t",
        partitions=12,
        recorded_at_ms=5,
        ranges={0: (1, 2), 11: (7, 2**40)},
        filter="key=1",
        scrubbed=True,
        limit=9,
        consumer="events",
        cluster_id="c",
        others={"mood": ["new"]},
    )
    assert Recording(write_recording(tmp_path / "r", [], header)).header == header


def test_a_topic_of_as_many_partitions_as_there_may_be_can_be_recorded(tmp_path: Path) -> None:
    every = range(MAX_PARTITIONS)
    header = RecordingHeader("t", len(every), 5, dict.fromkeys(every, (2**62, 2**63 - 1)))
    record = Record(0, 1, None, b"x", ())
    pairs = [(index, record) for index in (0, MAX_PARTITIONS - 1)]
    recording = Recording(write_recording(tmp_path / "r", pairs, header))
    assert recording.header == header
    assert list(recording.messages()) == pairs


def test_any_msgpack_library_can_walk_the_file(tmp_path: Path) -> None:
    pairs = random_pairs(1, 50)
    path = write_recording(tmp_path / "r", pairs, batch=20)
    parts = [part for _, _, part in walk(path)]
    assert parts[0][:2] == ["consumer-fleet-recording", 1]
    assert msgpack.unpackb(parts[0][3])["topic"] == "source"
    found = []
    for kind, checksum, body in parts[1:-1]:
        assert kind == "messages"
        assert checksum == zlib.crc32(body)
        found += msgpack.unpackb(zstandard.ZstdDecompressor().decompress(body))
    assert found == [
        [index, [*record[:-1], [list(each) for each in record.headers]]] for index, record in pairs
    ]
    counts = msgpack.unpackb(parts[-1][2])["messages"]
    assert parts[-1][0] == "end"
    assert sum(counts.values()) == len(pairs)


def test_a_file_that_is_cut_anywhere_yields_all_complete_blocks(tmp_path: Path) -> None:
    pairs = random_pairs(2, 60)
    path = write_recording(tmp_path / "r", pairs, batch=10)
    whole, parts = path.read_bytes(), walk(path)
    header_end, cut = parts[0][1], tmp_path / "cut"
    cut.write_bytes(whole)
    # Shortened in place, not written again: some file systems flush a file that replaces another.
    for size in reversed(range(header_end, len(whole))):
        os.truncate(cut, size)
        found, error = read_until_error(cut)
        blocks = sum(1 for _, end, part in parts if part[0] == "messages" and end <= size)
        assert found == pairs[: 10 * blocks]
        readable_to = max(end for _, end, part in parts if end <= size)
        assert error is not None
        assert f"{len(found):,} messages are readable up to byte {readable_to:,}" in str(error)
        assert error.exit_code == 65


@pytest.mark.parametrize("size", [0, 1, 10, 27, 40])
def test_a_file_that_is_cut_in_its_header_is_refused(tmp_path: Path, size: int) -> None:
    path = write_recording(tmp_path / "r", random_pairs(3, 5))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(RecordingError, match=r"not a recording|header is cut"):
        Recording(path)


def test_every_flipped_bit_is_noticed_and_nothing_behind_it_is_delivered(tmp_path: Path) -> None:
    pairs = random_pairs(4, 12, size=20)
    path = write_recording(tmp_path / "r", pairs, batch=4)
    whole, parts = path.read_bytes(), walk(path)
    for position in range(len(whole)):
        for bit in range(8):
            overwrite(path, position, whole[position] ^ 1 << bit)
            try:
                found, error = read_until_error(path)
            except RecordingError as unreadable:
                found, error = [], unreadable
            before = [end for _, end, part in parts if part[0] == "messages" and end <= position]
            assert error is not None, (position, bit)
            assert found == pairs[: 4 * len(before)]
            if position >= parts[0][1]:
                assert f"byte {max([parts[0][1], *before]):,}" in str(error)
        overwrite(path, position, whole[position])


def overwrite(path: Path, position: int, byte: int) -> None:
    with path.open("r+b", buffering=0) as file:
        file.seek(position)
        file.write(bytes([byte]))


def test_a_newer_version_is_named_beside_the_one_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_bytes(msgpack.packb(["consumer-fleet-recording", 7, {"anything": "else"}]))
    with pytest.raises(RecordingError, match=r"format version 7; this program reads version 1"):
        Recording(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"PK\x03\x04zip", msgpack.packb([1, 2, 3, 4])])
def test_what_is_no_recording_is_called_that(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="is not a recording"):
        Recording(path)


def test_files_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"nothing-here can't be read: No such file"):
        Recording(tmp_path / "nothing-here")
    with pytest.raises(RecordingError, match="Is a directory"):
        Recording(tmp_path)


def test_a_file_without_permission_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_recording(tmp_path / "r", [])

    # Not by the file's mode: root, who often runs the tests, may read everything.
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(RecordingError, match="Permission denied"):
        Recording(path)


def hostile(tmp_path: Path, *bodies: bytes, raw: bytes = b"") -> Path:
    path = tmp_path / "hostile"
    blocks = b"".join(pack_part("messages", body) for body in bodies)
    path.write_bytes(pack_header(HEADER) + blocks + raw)
    return path


def compressed(value: object) -> bytes:
    return zstandard.ZstdCompressor().compress(msgpack.packb(value))


@pytest.mark.parametrize(
    "body",
    [
        # A bomb: a gigabyte of zeros, with its size told or not.
        zstandard.ZstdCompressor().compress(bytes(MAX_MESSAGE_BYTES + 1)),
        zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1000)),
        # Nested empty arrays: 3 MiB that would be hundreds.
        compressed([[0, [1, None, None, None, [["h", [[]] * (3 << 20)]]]]]),
        compressed([[0, [1, None, None, None, [["h", [[]] * 100]]]]]),
        compressed([[0, [1, None, None, None, []]]] * 3) + b"more",
        compressed({"a": 1}),
        compressed([[0, [1, 2]]]),
        compressed([["0", [1, None, None, None, []]]]),
        compressed([[-1, [1, None, None, None, []]]]),
        compressed([[1 << 31, [1, None, None, None, []]]]),
        compressed([[0, [-1, None, None, None, []]]]),
        compressed([[0, [1 << 63, None, None, None, []]]]),
        compressed([[0, [1, 1 << 63, None, None, []]]]),
        compressed([[0, [1, "soon", None, None, []]]]),
        compressed([[0, [1, None, "key", None, []]]]),
        compressed([[0, [1, None, None, None, ""]]]),
        compressed([[0, [1, None, None, {"v": 1}, []]]]),
        compressed([[0, [1, None, None, None, [["name"]]]]]),
        compressed([[0, [1, None, None, None, [[b"name", b""]]]]]),
        b"no zstd",
    ],
)  # fmt: skip
def test_hostile_blocks_are_damage_and_nothing_worse(tmp_path: Path, body: bytes) -> None:
    found, error = read_until_error(hostile(tmp_path, compressed([]), body))
    assert found == []
    assert error is not None
    assert "cut or damaged" in str(error)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x93\xa8messages\x00\xc6\xff\xff\xff\xff",  # 4 GiB announced
        b"\x93\xdb\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\x93\xa8messages\xd3\xff\xff\xff\xff\xff\xff\xff\xff\xc4\x00",
        b"\x80",
    ],
)
def test_announced_lengths_cost_nothing(tmp_path: Path, raw: bytes) -> None:
    found, error = read_until_error(hostile(tmp_path, raw=raw))
    assert found == []
    assert error is not None


def test_a_message_beyond_the_limit_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = compressed([[0, [1, None, None, bytes(MAX_MESSAGE_BYTES), []]]])
    assert len(bomb) < 100_000
    found, error = read_until_error(hostile(tmp_path, bomb))
    assert found == []
    assert "more than a message may have" in str(error)


def test_a_part_beyond_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = hostile(tmp_path, raw=b"\x93\xa3end\x00\xc6\x02\x00\x00\x00")
    with path.open("r+b") as file:
        file.truncate(1 << 26)  # sparse: what is announced is there
    _, error = read_until_error(path)
    assert "claims 33,554,432 bytes, more than the 4,194,304 allowed" in str(error)


def test_an_end_that_counts_other_messages_is_damage(tmp_path: Path) -> None:
    end = pack_part("end", msgpack.packb({"messages": {"0": 2}}))
    block = compressed([[0, [1, None, None, None, []]]])
    found, error = read_until_error(hostile(tmp_path, block, raw=end))
    assert len(found) == 1
    assert re.search("has other message counts", str(error))


def test_bytes_behind_the_end_are_damage(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r", random_pairs(5, 10))
    path.write_bytes(path.read_bytes() + b"x")
    found, error = read_until_error(path)
    assert len(found) == 10
    assert "1 bytes follow its end" in str(error)


def test_blocks_stay_small_whatever_is_written_at_once(tmp_path: Path) -> None:
    value = random.Random(1).randbytes(100_000)
    headers = (("large", bytes(900_000)),)
    pairs = [(0, Record(n, 1, b"k", value, headers if n % 2 == 0 else ())) for n in range(60)]
    path = write_recording(tmp_path / "r", pairs, batch=60)
    blocks = [part[2] for _, _, part in walk(path) if part[0] == "messages"]
    assert len(blocks) > 6
    assert all(zstandard.frame_content_size(block) <= 2 * 1024 * 1024 for block in blocks)
    assert list(Recording(path).messages()) == pairs


def test_a_message_larger_than_a_block_has_one_for_itself(tmp_path: Path) -> None:
    large = Record(2, None, b"", bytes(5 << 20), (("h", None), ("h", b"1")))
    pairs = [(1, Record(1, 1, None, b"small", ())), (1, large), (1, Record(3, 1, None, b"", ()))]
    assert list(Recording(write_recording(tmp_path / "r", pairs)).messages()) == pairs


def test_chunks_are_of_one_partition_small_and_in_order(tmp_path: Path) -> None:
    pairs = random_pairs(6, 4000, size=3000)
    recording = Recording(write_recording(tmp_path / "r", pairs, batch=4000))
    by_partition: dict[int, list[Record]] = {}
    for chunk in recording.chunks():
        assert len(chunk.records) <= 500
        assert chunk.size == sum(record.size for record in chunk.records) <= 1024 * 1024
        assert chunk.partition.topic.name == "source"
        by_partition.setdefault(chunk.partition.index, []).extend(chunk.records)
    for index, records in by_partition.items():
        assert records == [record for partition, record in pairs if partition == index]


def test_an_unfinished_recording_is_called_partial_and_is_readable(tmp_path: Path) -> None:
    pairs = random_pairs(7, 30)
    partial = write_recording(tmp_path / "r", pairs, batch=10, complete=False)
    assert not (tmp_path / "r").exists()
    found, error = read_until_error(partial)
    assert found == pairs
    assert "its end is missing" in str(error)


def test_what_is_synced_is_readable_while_it_is_written(tmp_path: Path) -> None:
    pairs = random_pairs(8, 20)
    with RecordingWriter(tmp_path / "r", HEADER) as writer:
        writer.write(pairs)
        writer.sync()
        assert list(islice(Recording(writer.partial).messages(), 20)) == pairs
        writer.complete()


def test_files_that_exist_stay_as_they_are_unless_it_is_said(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r", random_pairs(9, 3))
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists"):
        RecordingWriter(path, HEADER)
    assert path.read_bytes() == before
    path.rename(tmp_path / "r.partial")
    with pytest.raises(OutputError, match=r"r\.partial exists"):
        RecordingWriter(path, HEADER)
    with RecordingWriter(path, HEADER, overwrite=True) as writer:
        writer.complete()
    assert list(Recording(path).messages()) == []
    assert not (tmp_path / "r.partial").exists()


def test_a_folder_that_is_missing_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory; nothing was written"):
        RecordingWriter(tmp_path / "missing" / "r", HEADER)


class FullDisk(io.FileIO):
    """Takes so many writes."""

    room = 1

    def write(self, content: Any) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= 1
        return super().write(content)


@pytest.mark.parametrize("room", [0, 1, 2])
def test_a_full_disk_names_the_file_and_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(FullDisk, "room", room)
    monkeypatch.setattr(Path, "open", lambda path, mode: FullDisk(path, mode))  # noqa: PLW0108 - a method

    def record() -> None:
        with RecordingWriter(tmp_path / "r", HEADER) as writer:
            for number in range(3):
                writer.write([(0, Record(number, 1, None, b"v", ()))])
                writer.sync()
            writer.complete()

    with pytest.raises(OutputError, match=r"r\.partial can't be written: no space left") as told:
        record()
    monkeypatch.undo()
    if room < 2:
        assert str(told.value).endswith("; nothing was written")
        assert list(tmp_path.iterdir()) == [], "a file without any message"
    else:
        assert str(told.value).endswith("; earlier messages are in " + f"{tmp_path}/r.partial")
        assert len(read_until_error(tmp_path / "r.partial")[0]) == 1


def test_an_error_that_is_not_the_disks_is_raised_and_nobody_waits_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pack(*_: object) -> bytes:
        raise MemoryError

    with pytest.raises(MemoryError), RecordingWriter(tmp_path / "r", HEADER) as writer:  # noqa: PT012 - at which of them is up to the thread
        monkeypatch.setattr("consumer_fleet.recording.writer.pack_part", pack)
        for number in range(20):
            writer.write([(0, Record(number, 1, None, b"v", ()))])
            writer.flush()
        writer.sync()


def test_what_was_not_flushed_is_in_the_partial_file_too(tmp_path: Path) -> None:
    pairs = random_pairs(11, 3)
    with RecordingWriter(tmp_path / "r", HEADER) as writer:
        writer.write(pairs)
    assert read_until_error(tmp_path / "r.partial")[0] == pairs


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_regular_file_is_refused_at_once_and_stays(
    tmp_path: Path, overwrite: bool
) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    (tmp_path / "r.partial").mkdir()
    before = sorted(tmp_path.iterdir())
    for name in ("folder", "pipe", "link", "r"):
        with pytest.raises(OutputError, match="is not a regular file and is kept"):
            RecordingWriter(tmp_path / name, HEADER, overwrite=overwrite)
    for path in (Path(), Path("/")):
        with pytest.raises(OutputError, match="is not a file name"):
            RecordingWriter(path, HEADER, overwrite=overwrite)
    assert sorted(tmp_path.iterdir()) == before


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    for name in ("r", "r.partial"):
        (tmp_path / f"{name}.target").write_bytes(b"kept")
        (tmp_path / name).symlink_to(tmp_path / f"{name}.target")
    with RecordingWriter(tmp_path / "r", HEADER, overwrite=True) as writer:
        writer.complete()
    assert not (tmp_path / "r").is_symlink()
    assert list(Recording(tmp_path / "r").messages()) == []
    assert (tmp_path / "r.target").read_bytes() == b"kept"
    assert (tmp_path / "r.partial.target").read_bytes() == b"kept"


def test_a_header_that_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(OverflowError):
        RecordingWriter(tmp_path / "r", replace(HEADER, limit=10**30))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("topic", 1), ("topic", ""), ("topic", None), ("partitions", 0), ("partitions", -1),
        ("partitions", 10**9), ("partitions", True), ("partitions", "4"), ("consumer", ["x"]),
        ("cluster_id", {"a": 1}), ("filter", 5), ("scrubbed", "no"), ("limit", "9"), ("limit", -1),
        ("recorded_at_ms", 1.5), ("recorded_at_ms", 2**63), ("recorded_at_ms", None),
        ("ranges", {"0": ["1", 2]}), ("ranges", {"0": [1, 2.5]}), ("ranges", {"0": [-1, 2]}),
        ("ranges", {"x": [1, 2]}), ("ranges", {"0": [1]}), ("ranges", []), ("ranges", None),
    ],
)  # fmt: skip
def test_a_header_that_makes_no_sense_is_refused(
    tmp_path: Path, member: str, value: object
) -> None:
    members = msgpack.unpackb(walk(write_recording(tmp_path / "r", []))[0][2][3])
    body = msgpack.packb(members | {member: value})
    path = tmp_path / "crafted"
    path.write_bytes(pack_part("consumer-fleet-recording", body, version=1))
    with pytest.raises(RecordingError, match=r"crafted can't be read: its header "):
        Recording(path)


def test_a_pipe_is_no_recording_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RecordingError, match="pipe is not a regular file"):
        Recording(tmp_path / "pipe")
