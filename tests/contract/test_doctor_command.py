"""``consumer doctor`` from the outside: output, exit codes, and duration."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from consumer_fleet.doctor.command import TIMEOUT_S
from tests.support.consumer_process import run_command
from tests.support.processes import free_ports
from tests.support.scripted_receiver import ScriptedReceiver

SECRET = "hunter2verysecret"
# A second more than its checks may take, to start and to print.
PROMISED_S = TIMEOUT_S + 1
MEMBERS = ["check", "status", "subject", "seen", "fix"]


def said(run: subprocess.CompletedProcess[str]) -> str:
    text = run.stdout + run.stderr
    assert "Traceback" not in text, text
    assert SECRET not in text, text
    return text


def as_json(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    run = run_command("doctor", "--json", *arguments)
    said(run)
    assert run.stderr == "", "what is logged is said by the findings"
    return run.returncode, json.loads(run.stdout)


def test_without_configuration_it_checks_the_machine_and_is_content() -> None:
    run = run_command("doctor")
    assert run.returncode == 0, said(run)
    lines = run.stdout.splitlines()
    assert "nothing is configured" in lines[0]
    assert "demonstration" in lines[0]
    assert any("machine.files: open files" in line for line in lines)
    assert lines[-1].startswith("no problems, ")
    assert run.stderr == ""


def test_the_json_has_the_same_members_in_every_finding() -> None:
    code, findings = as_json()
    assert code == 0
    assert all(list(finding) == MEMBERS for finding in findings)
    assert {finding["status"] for finding in findings} <= {"ok", "warning"}
    assert findings[0]["check"] == "configuration"


@pytest.mark.timed
def test_nothing_that_answers_is_reported_in_the_time_that_is_promised_and_hides_nothing() -> None:
    (closed,) = free_ports(1)
    # A backlog of nobody: connections are taken by the kernel, and nothing ever answers.
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.create_server(("127.0.0.1", 0)) as mute,
    ):
        brokers = f"127.0.0.1:{closed},127.0.0.1:{silent.getsockname()[1]},nobody.invalid:9092"
        started = time.monotonic()
        code, findings = as_json(
            *("--topic", "events", "--bootstrap-servers", brokers),
            *("--kafka-config", f"sasl.password={SECRET}"),
            *("--set", f"upstream_dsn=http://{SECRET}@127.0.0.1:{mute.getsockname()[1]}/1"),
            *("--set", f"saas_dsn=https://{SECRET}@nowhere.invalid/1"),
            *("--set", "store_use_relay_dsn_sample_rate=1"),
        )
        took_s = time.monotonic() - started
    assert code == 1
    assert took_s < PROMISED_S
    problems = {(each["check"], each["subject"]) for each in findings if each["fix"]}
    assert {check for check, _ in problems} == {"kafka.server", "kafka.login", "destination.reach"}
    assert len([1 for check, _ in problems if check == "kafka.server"]) == 3
    assert len([1 for check, _ in problems if check == "destination.reach"]) == 2
    assert any(each["check"] == "machine.memory" for each in findings)


def test_the_help_and_the_page_promise_the_same_time() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "doctor.md").read_text()
    for text in (page, run_command("doctor", "--help").stdout):
        assert f"It takes up to {PROMISED_S:g} seconds" in " ".join(text.split())


def test_the_environment_and_the_file_count_as_they_do_for_run(tmp_path: Any) -> None:
    config = tmp_path / "config.yml"
    config.write_text("physical_topic: events-eu\ngroup: snuba-consumers\n")
    with ScriptedReceiver() as receiver:
        run = run_command(
            *("doctor", "--topic", "events", "--config", str(config), "--json"),
            environment={"CONSUMER_UPSTREAM_DSN": receiver.dsn(key=SECRET)},
        )
        assert len(receiver.requests) == 2
    said(run)
    findings = json.loads(run.stdout)
    bad = [each for each in findings if each["status"] == "problem"]
    assert [each["subject"] for each in bad] == ["options", "group"]
    assert "no Kafka broker" in bad[0]["seen"]
    assert "snuba-consumers" in bad[1]["seen"]
    assert run.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--topic", "event"), 78, "did you mean 'events'?"),
        (("--set", "wrokers=3"), 78, "did you mean workers?"),
        (("--set", "workers=0"), 78, "--workers"),
        (("--config", "/nonexistent/c.yml"), 78, "/nonexistent/c.yml"),
        (("--kafka-config", "group.id=g"), 78, "use --group"),
        (("--kafka-config", SECRET), 2, "NAME=VALUE"),
        (("--tpoic", "events"), 2, "--topic"),
    ],
)
def test_a_wrong_command_line_or_configuration_is_reported_by_the_exit_code(
    arguments: tuple[str, ...], code: int, says: str
) -> None:
    run = run_command("doctor", *arguments)
    assert says in said(run)
    assert run.returncode == code
    assert run.stdout == ""


def test_a_setting_that_librdkafka_refuses_is_a_finding() -> None:
    (port,) = free_ports(1)
    code, findings = as_json(
        *("--bootstrap-servers", f"127.0.0.1:{port}", "--topic", "events"),
        *("--kafka-config", f"sasl.pasword={SECRET}"),
    )
    assert code == 1
    (finding,) = [each for each in findings if each["check"] == "kafka.login"]
    assert "sasl.pasword" in finding["seen"]
