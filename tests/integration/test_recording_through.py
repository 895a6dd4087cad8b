"""``consumer replay FILE --through CONSUMER``: what the command adds to the replay itself."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from contextlib import suppress
from itertools import islice
from pathlib import Path

from consumer_fleet.kafka.chunk import Record
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.run.demonstration import example_messages
from tests.support.consumer_process import CONSUMER, clean_environment, run_command
from tests.support.recordings import write_recording


def recording(path: Path, count: int) -> str:
    pairs = [
        (number % 2, Record(number, 1_700_000_000_000, None, value, ()))
        for number, value in enumerate(islice(example_messages("envelopes"), count))
    ]
    header = RecordingHeader("envelopes", 2, 1, {}, consumer="envelopes")
    return str(write_recording(path, pairs, header))


def test_a_recording_is_delivered_to_a_receiver_without_any_broker(tmp_path: Path) -> None:
    path = recording(tmp_path / "r", 60)
    changed = ("--new-event-ids", "--shift-time", "--from", "10", "--limit", "40")
    run = run_command(
        "replay", path, "--through", "envelopes", "--workers", "1", *changed, cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    assert "delivered 40" in run.stdout


def test_a_cut_recording_is_delivered_to_where_it_is_whole(tmp_path: Path) -> None:
    path = Path(recording(tmp_path / "r", 250))
    path.write_bytes(path.read_bytes()[:-100])
    run = run_command("replay", str(path), "--through", "envelopes", "--workers", "1", cwd=tmp_path)
    assert run.returncode == 65
    assert "delivered 200" in run.stdout
    assert "200 messages are readable up to byte" in run.stderr


def test_another_machine_is_named_and_not_sent_to_unless_it_is_said(tmp_path: Path) -> None:
    path = recording(tmp_path / "r", 1)
    dsn = "https://secretkey@sentry.example.invalid/1"
    run = run_command("replay", path, "--through", "envelopes", "--upstream-dsn", dsn, cwd=tmp_path)
    assert run.returncode == 2
    assert "upstream sentry.example.invalid" in run.stderr
    assert "--yes" in run.stderr
    assert "secretkey" not in run.stderr + run.stdout


def test_options_that_do_nothing_for_the_target_are_refused(tmp_path: Path) -> None:
    path = recording(tmp_path / "r", 1)
    run = run_command("replay", path, "--through", "envelopes", "--create", cwd=tmp_path)
    assert (run.returncode, "--create goes with --to-topic only" in run.stderr) == (2, True)
    run = run_command("replay", path, "--to-topic", "t", "--workers", "2", cwd=tmp_path)
    assert (run.returncode, "--workers goes with --through only" in run.stderr) == (2, True)


def test_the_summary_is_one_json_document(tmp_path: Path) -> None:
    path = Path(recording(tmp_path / "r", 250))
    through = ("replay", str(path), "--through", "envelopes", "--workers", "1", "--json")
    whole = run_command(*through, cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert json.loads(whole.stdout) == {
        "source": str(path),
        "consumer": "envelopes",
        "delivered": 250,
        "filtered": {},
        "rejected": {},
        "rejects_file": None,
        "interrupted": False,
        "complete": True,
    }
    path.write_bytes(path.read_bytes()[:-100])
    cut = run_command(*through, cwd=tmp_path)
    assert cut.returncode == 65
    document = json.loads(cut.stdout)
    assert (document["delivered"], document["complete"]) == (200, False)
    rejected = run_command(
        "replay", str(path), "--through", "events", "--workers", "1", "--json", cwd=tmp_path
    )
    document = json.loads(rejected.stdout)
    assert document["delivered"] == 0
    assert sum(document["rejected"].values()) == 200
    assert (tmp_path / document["rejects_file"]).exists()


def test_a_terminal_sees_how_far_it_is(tmp_path: Path) -> None:
    path = recording(tmp_path / "r", 60)
    parent, child = pty.openpty()
    replay = subprocess.Popen(
        [CONSUMER, "replay", path, "--through", "envelopes", "--workers", "1", "--json"],
        env=clean_environment({"TERM": "xterm", "COLUMNS": "100"}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=child,
    )
    os.close(child)
    drawn = b""
    try:
        # The end of a terminal that nobody has open any more is an error.
        with os.fdopen(parent, "rb", buffering=0) as terminal, suppress(OSError):
            while data := terminal.read(65_536):
                drawn += data
        shown = drawn.decode(errors="replace")
        assert replay.wait(60) == 0, shown
    finally:
        replay.kill()
    assert re.search(r"[━─]{10} +\d+%", shown), shown


def test_messages_that_are_no_dead_letters_are_not_listed_as_some(tmp_path: Path) -> None:
    path = Path(recording(tmp_path / "r", 250))
    listed = run_command("dlq", "list", "--file", str(path))
    assert listed.returncode == 0, listed.stderr
    assert f"250 messages without dead-letter headers in {path}" in listed.stdout
    nothing = run_command("dlq", "list", "--file", str(path), "--reason", "typo")
    assert nothing.stdout == f"No match among the 250 messages in {path}: reason typo.\n"
    document = json.loads(run_command("dlq", "list", "--file", str(path), "--json").stdout)
    assert (document["total"], document["not_dead_letters"]) == (250, 250)


def test_of_a_damaged_file_what_is_readable_is_listed_before_the_error(tmp_path: Path) -> None:
    path = Path(recording(tmp_path / "r", 250))
    path.write_bytes(path.read_bytes()[:-100])
    table = run_command("dlq", "list", "--file", str(path))
    assert (table.returncode, "200 messages are readable" in table.stderr) == (65, True)
    assert f"in {path}, as far as it is readable" in table.stdout
    assert "(not a dead letter)                200" in table.stdout
    each = run_command("dlq", "list", "--file", str(path), "--each", "--limit", "300")
    assert (each.returncode, len(each.stdout.splitlines())) == (65, 1 + 200)
    document = run_command("dlq", "list", "--file", str(path), "--json")
    assert document.returncode == 65
    assert json.loads(document.stdout)["complete"] is False
