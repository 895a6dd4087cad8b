"""Bugs reach the upstream as Sentry events, from real processes; counted at a receiver."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from consumer_fleet.kafka.chunk import Record
from consumer_fleet.recording.format import RecordingHeader
from tests.support.consumer_process import run_command
from tests.support.recordings import write_recording
from tests.support.sabotage import install_sabotage
from tests.support.scripted_receiver import ScriptedReceiver

MESSAGES = 60
PROJECT = 5


def recording(path: Path) -> str:
    """Envelopes of a client report each: no event of theirs is taken for one of ours."""
    value = b'{"dsn":"https://key@sdk.example/%d"}\n{"type":"client_report"}\n{"n":%d}'
    pairs = [
        (0, Record(n, 1_700_000_000_000, None, value % (PROJECT, n), ())) for n in range(MESSAGES)
    ]
    return str(write_recording(path, pairs, RecordingHeader("envelopes", 1, 1, {})))


def replay(
    folder: Path, upstream: ScriptedReceiver, sabotage: str | None, **options: object
) -> subprocess.CompletedProcess[str]:
    settings = [f"{name}={value}" for name, value in options.items()]
    return run_command(
        *(
            "replay",
            recording(folder / f"r{len(list(folder.iterdir()))}"),
            "--through",
            "envelopes",
            "--workers",
            "1",
        ),
        *("--upstream-dsn", upstream.dsn(), "--set", "log_format=json"),
        *(part for setting in settings for part in ("--set", setting)),
        environment=install_sabotage(folder, sabotage) if sabotage else {},
        cwd=folder,
    )


def payloads(upstream: ScriptedReceiver, kind: str) -> list[dict[str, Any]]:
    return [
        orjson.loads(item.payload)
        for envelope in upstream.envelopes
        for item in envelope.items
        if item.type == kind
    ]


def reported(upstream: ScriptedReceiver) -> Counter[tuple[str, str]]:
    """The role and the type of exception of each event."""
    return Counter(
        (event["tags"]["role"], event["exception"]["values"][-1]["type"])
        for event in payloads(upstream, "event")
    )


def test_a_bug_in_a_codec_is_reported_once_per_type(
    tmp_path: Path, upstream: ScriptedReceiver
) -> None:
    run = replay(tmp_path, upstream, "codec")
    assert run.returncode == 0, run.stderr
    assert run.stderr.count('"event": "codec_error"') == MESSAGES
    assert reported(upstream) == {("worker", "ZeroDivisionError"): 1, ("worker", "LookupError"): 1}
    assert {event["tags"]["topic"] for event in payloads(upstream, "event")} == {"envelopes"}


def test_a_bug_in_the_workers_loop_is_reported_before_the_worker_ends(
    tmp_path: Path, upstream: ScriptedReceiver
) -> None:
    run = replay(tmp_path, upstream, "worker_loop")
    assert run.returncode == 0, run.stderr
    assert reported(upstream) == {("worker", "LookupError"): 1}
    assert len(payloads(upstream, "client_report")) == MESSAGES


def test_a_bug_in_a_strategy_is_reported_before_the_process_ends_with_70(
    tmp_path: Path, upstream: ScriptedReceiver
) -> None:
    run = replay(tmp_path, upstream, "strategy")
    assert run.returncode == 70, run.stderr
    assert reported(upstream) == {("parent", "RuntimeError"): 1}


def test_a_failed_boot_of_a_worker_is_reported_and_so_is_the_end_by_70(
    tmp_path: Path, upstream: ScriptedReceiver
) -> None:
    run = replay(tmp_path, upstream, "boot")
    assert run.returncode == 70, run.stderr
    assert reported(upstream) == {("parent", "FleetError"): 2}
    (text,) = {event["exception"]["values"][-1]["value"] for event in payloads(upstream, "event")}
    assert text == "a worker can't boot: RuntimeError: a bug in the boot"


@pytest.mark.parametrize(
    ("sabotage", "said"),
    [
        ("kill_at_boot", "SIGKILL ended it during its boot. The system does that when memory runs"),
        ("segfault_at_boot", "SIGSEGV ended it during its boot. A library has crashed"),
    ],
)
def test_signals_that_end_booting_workers_are_named_and_are_no_bug_of_this_program(
    tmp_path: Path, upstream: ScriptedReceiver, sabotage: str, said: str
) -> None:
    run = replay(tmp_path, upstream, sabotage)
    assert run.returncode == 71, run.stderr
    assert f"a worker can't boot: {said}" in run.stderr
    assert "bug" not in run.stderr
    assert reported(upstream) == {("parent", "SystemFailure"): 1}


def test_a_bug_about_a_message_of_the_internal_project_is_kept_from_saas(
    tmp_path: Path, upstream: ScriptedReceiver
) -> None:
    """There, it could become the next message of that project."""
    with ScriptedReceiver() as saas:
        options = {"saas_dsn": saas.dsn(), "store_use_relay_dsn_sample_rate": 1}
        replay(tmp_path, upstream, "codec", **options, internal_project_id=7)
        assert len(payloads(saas, "event")) == len(payloads(upstream, "event")) == 2
        replay(tmp_path, upstream, "codec", **options, internal_project_id=PROJECT)
        assert len(payloads(saas, "event")) == 2
        assert len(payloads(upstream, "event")) == 4


def test_each_chunk_is_a_transaction_if_it_is_asked_for(
    tmp_path: Path, upstream: ScriptedReceiver
) -> None:
    run = replay(tmp_path, upstream, None, traces_sample_rate=1)
    assert run.returncode == 0, run.stderr
    (transaction,) = payloads(upstream, "transaction")
    assert transaction["transaction"] == "consume envelopes"
    data = transaction["contexts"]["trace"]["data"]
    assert data["messaging.batch.message_count"] == MESSAGES
    (header,) = [
        orjson.loads(envelope.header)
        for envelope in upstream.envelopes
        if envelope.items[0].type == "transaction"
    ]
    assert header["trace"]["public_key"] == "key"


def test_nothing_is_reported_without_self_reporting(
    tmp_path: Path, upstream: ScriptedReceiver
) -> None:
    run = replay(tmp_path, upstream, "codec", self_reporting="false", traces_sample_rate=1)
    assert run.returncode == 0, run.stderr
    assert upstream.envelopes == []
