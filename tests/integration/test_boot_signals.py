"""Signals around the boot of real processes: TERM, and a parent's parent that ignores SIGCHLD."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from consumer_fleet.kafka.chunk import Record
from consumer_fleet.recording.format import RecordingHeader
from tests.support.consumer_process import CONSUMER, ConsumerProcess, clean_environment
from tests.support.processes import wait_until
from tests.support.recordings import write_recording
from tests.support.sabotage import install_sabotage
from tests.support.scripted_receiver import ScriptedReceiver

# Brokers that do not answer: `consumer run` waits for them while its workers boot.
RUN = ("--topic", "envelopes", "--bootstrap-servers", "127.0.0.1:9", "--workers", "1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_boot_of_the_process_ends_it_at_once(
    tmp_path: Path, upstream: ScriptedReceiver, number: signal.Signals
) -> None:
    environment = install_sabotage(tmp_path, "slow_boot")
    run = ConsumerProcess(tmp_path, *RUN, "--upstream-dsn", upstream.dsn(), environment=environment)
    with run:
        wait_until((tmp_path / "booting").exists, timeout_s=60, what="the boot")
        run.signal(number)
        # An exit code, not a death by the signal: for the first process of a container, the
        # system drops signals without a handler.
        assert run.wait(10) == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
        assert "Traceback" not in run.output()


def test_term_while_the_workers_boot_is_an_orderly_stop(
    tmp_path: Path, upstream: ScriptedReceiver
) -> None:
    environment = install_sabotage(tmp_path, "slow_boot_of_workers")
    run = ConsumerProcess(tmp_path, *RUN, "--upstream-dsn", upstream.dsn(), environment=environment)
    with run:
        wait_until((tmp_path / "booting").exists, timeout_s=60, what="the boot")
        run.signal(signal.SIGTERM)
        assert run.wait(20) == 0
        assert run.events("stopping")[0]["why"] == "SIGTERM"


_IGNORING = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"


def test_an_ignored_sigchld_makes_no_difference(tmp_path: Path, upstream: ScriptedReceiver) -> None:
    values = [b'{}\n{"type":"client_report"}\n{}\n', b"kill", b'{}\n{"type":"client_report"}\n{}\n']
    pairs = [(0, Record(n, 0, None, value, ())) for n, value in enumerate(values)]
    path = write_recording(tmp_path / "r", pairs, RecordingHeader("envelopes", 1, 1, {}))
    arguments = [
        *(CONSUMER, "replay", str(path), "--through", "envelopes", "--workers", "1"),
        *("--upstream-dsn", upstream.dsn(), "--set", "log_format=json", "--json"),
    ]
    # SIG_IGN outlives the exec, as it does under a service manager that ignores its children.
    run = subprocess.run(
        [sys.executable, "-c", f"{_IGNORING}os.execv(sys.argv[1], sys.argv[1:])", *arguments],
        env=clean_environment(install_sabotage(tmp_path, "killing_codec")),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    outcome = json.loads(run.stdout)
    assert (outcome["delivered"], outcome["rejected"]) == (2, {"worker_killed": 1})
    died = [json.loads(line) for line in run.stderr.splitlines() if '"worker_died"' in line]
    assert [(each["cause"], each["exit_code"]) for each in died] == [("signal", -9)] * 3
