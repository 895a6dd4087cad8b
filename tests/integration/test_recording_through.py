"""``consumer replay FILE --through CONSUMER``: what the command adds to the replay itself."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from consumers.examples import example_messages
from fleet.kafka.chunk import Record
from fleet.recording.header import RecordingHeader
from tests.support.consumer_process import run_command
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
