"""The file of rejected messages: they are on disk before they count as kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from arroyo.types import Partition, Topic
from structlog.testing import capture_logs

from consumer_fleet.dead_letter_headers import Facts, restore, with_facts
from consumer_fleet.errors import FleetError, OutputError
from consumer_fleet.kafka.chunk import DeadLetter, Record
from consumer_fleet.recording.reader import Recording
from consumer_fleet.replay.through import RejectsFile, free_path, rejects_header

POSITION = Partition(Topic("events-dlq"), 2)
FIRST = Facts("http_400", "no", "events", 3, 41, 1_700_000_000_123, "my-group")


def letter(offset: int, headers: object = (), value: bytes | None = b"value") -> DeadLetter:
    record = Record(offset, 1_800_000_000_000, b"key", value, tuple(headers))  # type: ignore[arg-type]  # any pairs
    return DeadLetter(record, "invalid_json", "line 1")


class Kept:
    def __init__(self, path: Path) -> None:
        self.failures: list[FleetError] = []
        header = rejects_header("events-dlq", 4, "events")
        self.file = RejectsFile(path, header, by="replay", on_failure=self.failures.append)


def test_without_a_rejected_message_there_is_no_file(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "r.recording")
    kept.file.poll()
    kept.file.close(0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_message_is_kept_once_it_is_forced_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    kept = Kept(tmp_path / "r.recording")
    ticket = kept.file.produce(POSITION, letter(7))
    assert not ticket.kept
    assert not kept.file.idle
    really = os.fsync

    def fsync(number: int) -> None:
        synced.append(ticket.kept)
        really(number)

    monkeypatch.setattr(os, "fsync", fsync)
    kept.file.poll()
    assert synced == [False]
    assert ticket.kept
    assert kept.file.idle
    # Whatever becomes of the process now, the message is there.
    partial = Recording(tmp_path / "r.recording.partial").messages()
    assert next(partial)[1].value == b"value"
    kept.file.close(0.0)
    assert [index for index, _ in Recording(tmp_path / "r.recording").messages()] == [2]


def test_a_file_that_can_not_be_written_ends_the_run_and_keeps_no_promise(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "r.recording")
    (tmp_path / "r.recording").touch()
    ticket = kept.file.produce(POSITION, letter(7))
    kept.file.poll()
    kept.file.poll()
    assert [type(failure) for failure in kept.failures] == [OutputError]
    assert not ticket.kept
    assert kept.file.is_off, "a drain must not wait for it"
    kept.file.close(0.0)


@pytest.mark.parametrize("name", ["there", "begun", "link", "missing/r.recording"])
def test_what_stands_in_the_way_is_said_before_anything_is_replayed(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "there").touch()
    (tmp_path / "begun.partial").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match=name.partition("/")[0]):
        Kept(tmp_path / name)


def test_what_is_given_up_is_not_written(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "r.recording")
    ticket = kept.file.produce(POSITION, letter(7))
    kept.file.forget_all()
    kept.file.poll()
    assert kept.file.idle
    assert not ticket.kept
    assert list(tmp_path.iterdir()) == []


def test_a_message_is_told_once_with_its_new_reason_and_its_first_place(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "r.recording")
    own = [("h", b"1"), ("h", None)]
    with capture_logs() as logs:
        kept.file.produce(POSITION, letter(7, with_facts(own, FIRST), None))
        kept.file.produce(POSITION, letter(8, own))
    kept.file.poll()
    kept.file.close(0.0)
    again, fresh = (record for _, record in Recording(tmp_path / "r.recording").messages())
    told, untold = restore(again.headers), restore(fresh.headers)
    assert told is not None
    assert untold is not None
    assert list(told.headers) == list(untold.headers) == own
    assert told.last == FIRST._replace(reason="invalid_json", detail="line 1", group="replay")
    assert untold.last == Facts(
        "invalid_json", "line 1", "events-dlq", 2, 8, 1_800_000_000_000, "replay"
    )
    assert (again.offset, again.value, again.key) == (7, None, b"key")
    assert [each["origin"] for each in logs] == ["events/3@41", "events-dlq/2@8"]


def test_the_default_file_never_takes_the_place_of_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = []
    for suffix in ("", ".partial", ""):
        path = free_path("events-dlq")
        names.append(path.name)
        path.with_name(path.name + suffix).touch()
    assert names == [
        "events-dlq.rejected.recording",
        "events-dlq.rejected-2.recording",
        "events-dlq.rejected-3.recording",
    ]
    # A topic's name may be longer than a file's: making the file reports that.
    with pytest.raises(OutputError, match="File name too long"):
        Kept(free_path("t" * 249))
