"""The command as its users meet it: an error is one line, with a named exit code."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest

from consumer_fleet.bootstrap.sources import FIELDS
from consumer_fleet.cli import _exit_if_output_is_lost, main
from consumer_fleet.consumers.registry import CONSUMERS, NOT_CARRIED
from tests.support.consumer_process import (
    CONSUMER,
    ConsumerProcess,
    call_command,
    clean_environment,
    run_command,
)
from tests.support.processes import free_ports

SECRET = "hunter2verysecret"
NOBODY = "127.0.0.1:9"
BROKERS = ("--bootstrap-servers", NOBODY)
DSN = ("--upstream-dsn", f"http://{SECRET}@127.0.0.1:9/1")
PLACES = (*BROKERS, *DSN)


@dataclass(frozen=True)
class Bad:
    """Bad input: the arguments of ``consumer run``, and words of the expected error."""

    name: str
    arguments: tuple[str, ...]
    says: tuple[str, ...]
    code: int = 78
    environment: dict[str, str] = field(default_factory=dict)
    topic: str | None = "events"


BAD = (
    Bad(
        "unknown topic",
        (),
        ("'ingest-event'", "did you mean 'ingest-events'?", *(each.name for each in CONSUMERS)),
        topic="ingest-event",
    ),
    Bad("no topic", (), ("give --topic", *(each.name for each in CONSUMERS)), topic=None),
    Bad("unknown option", ("--set", "wrokers=3"), ("wrokers", "did you mean workers?")),
    Bad("unknown flag", ("--wrokers", "3"), ("No such option '--wrokers'",), code=2),
    Bad("set without =", ("--set", "workers"), ("--set", "NAME=VALUE")),
    Bad("no workers", ("--workers", "0"), ("--workers", "greater than or equal to 1", "'0'")),
    Bad("workers in words", ("--workers", "many"), ("--workers", "many"), code=2),
    Bad("unknown policy", ("--auto-offset-reset", "first"), ("earliest", "latest", "error"), 2),
    Bad("dlq and none", ("--no-dlq", "--dlq-topic", "d"), ("--no-dlq", "--dlq-topic", "exclude")),
    Bad("no dsn", BROKERS, ("no DSN", "--upstream-dsn", "CONSUMER_UPSTREAM_DSN")),
    Bad("no brokers", DSN, ("no Kafka broker", "--bootstrap-servers")),
    Bad(
        "malformed dsn",
        ("--upstream-dsn", f"sentry.example/{SECRET}"),
        ("--upstream-dsn", "not a DSN", "expected https://PUBLIC_KEY@HOST"),
    ),
    Bad(
        "malformed dsn in the environment",
        (),
        ("CONSUMER_SAAS_DSN", "not a DSN"),
        environment={"CONSUMER_SAAS_DSN": f"https://{SECRET}@"},
    ),
    Bad("missing config", ("--config", "/nonexistent/c.yml"), ("/nonexistent/c.yml", "--example")),
    Bad(
        "group of Snuba's", (*PLACES, "--group", "snuba-consumers"), ("snuba-consumers", "your own")
    ),
    Bad(
        "long shutdown",
        (*PLACES, "--shutdown-timeout", "20", "--kafka-config", "max.poll.interval.ms=10000"),
        ("shutdown_timeout is 20 s", "max.poll.interval.ms = 10000"),
    ),
    Bad(
        "interval in words",
        (*PLACES, "--kafka-config", "max.poll.interval.ms=soon"),
        ("max.poll.interval.ms",),
    ),
    Bad(
        "unknown property",
        (*PLACES, "--kafka-config", f"sasl.pasword={SECRET}"),
        ("kafka_config", "sasl.pasword"),
    ),
    Bad(
        "unknown property beside another",
        (
            *(*PLACES, "--set", f"kafka_config=sasl.pasword={SECRET}"),
            *("--kafka-config", "client.rack=a"),
        ),
        ("kafka_config", "sasl.pasword"),
    ),
    Bad(
        "refused property",
        (*PLACES, "--kafka-config", f"sasl.password={SECRET}", "--kafka-config", "group.id=g"),
        ("'group.id' can't be set", "use --group"),
    ),
    Bad(
        "secret without a name",
        ("--kafka-config", SECRET),
        ("--kafka-config", "NAME=VALUE"),
        code=2,
    ),
    Bad(
        "unknown transform",
        (*PLACES, "--transform", "sentry-scrubing"),
        ("there is no transform 'sentry-scrubing'", "did you mean 'sentry-scrubbing'?"),
    ),
    Bad(
        "transform that can't be imported",
        (*PLACES, "--transform", "nothing_of_that_name:run"),
        ("'nothing_of_that_name:run'", "can't be imported", "ModuleNotFoundError"),
    ),
    Bad(
        "dlq is the topic itself",
        (*PLACES, "--dlq-topic", "events", "--stop-at-end"),
        ("dlq_topic", "'events'"),
    ),
)


def output_of(run: subprocess.CompletedProcess[str]) -> str:
    """The output, without the line breaks of click's boxes and rich's tables."""
    said = run.stdout + run.stderr
    assert "Traceback" not in said, said
    assert SECRET not in said, said
    return said


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name.replace(" ", "-"))
def test_bad_input_is_told_in_words_and_by_the_exit_code(bad: Bad) -> None:
    topic = () if bad.topic is None else ("--topic", bad.topic)
    # With brokers and a destination it boots before it ends, in a process of its own.
    command = run_command if set(PLACES) <= set(bad.arguments) else call_command
    run = command("run", *topic, *bad.arguments, environment=bad.environment)
    said = output_of(run)
    assert [words for words in bad.says if words not in said] == [], said
    assert run.returncode == bad.code
    assert run.stdout == "", "what is wrong belongs on stderr"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("topic: events\nworkers: many\n", ("c.yml:2", "workers", "integer", "'many'")),
        ("wrokers: 3\n", ("c.yml:1", "wrokers", "did you mean workers?")),
        (f"upstream_dsn: {SECRET}\n", ("c.yml:1", "upstream_dsn", "expected https://")),
        ("workers: [1\n", ("c.yml:", "expected")),
        ("- workers\n", ("c.yml",)),
    ],
    ids=["type", "key", "dsn", "syntax", "list"],
)
def test_a_bad_configuration_file_is_told_with_its_line_and_key(
    text: str, says: tuple[str, ...], tmp_path: Path
) -> None:
    config = tmp_path / "c.yml"
    config.write_text(text)
    run = call_command("run", "--topic", "events", "--config", str(config))
    said = output_of(run)
    assert [words for words in says if words not in said] == [], said
    assert run.returncode == 78


def test_every_problem_is_told_at_once() -> None:
    run = run_command("run", "--topic", "events", "--workers", "0", "--set", "connections=0")
    said = output_of(run)
    assert "the configuration has 2 problems" in said
    assert "workers" in said
    assert "connections" in said
    assert run.returncode == 78


def test_brokers_that_do_not_answer_end_a_run_that_is_to_end() -> None:
    (port,) = free_ports(1)
    started = time.monotonic()
    run = run_command(
        "run",
        *("--topic", "events", "--stop-at-end", "--workers", "1", *DSN),
        *("--bootstrap-servers", f"127.0.0.1:{port}"),
        *("--kafka-config", f"sasl.password={SECRET}"),
    )
    assert time.monotonic() - started < 40
    assert f"no Kafka broker answers at 127.0.0.1:{port}" in output_of(run)
    assert run.returncode == 69


def test_brokers_that_do_not_answer_are_waited_for_until_a_signal(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    started = time.monotonic()
    with ConsumerProcess(
        tmp_path,
        *("--topic", "events", "--workers", "1", "--bootstrap-servers", f"127.0.0.1:{port}", *DSN),
        *("--kafka-config", f"sasl.password={SECRET}"),
    ) as consumer:
        event = consumer.wait_for("kafka_unreachable")[0]
        assert time.monotonic() - started < 40
        assert event["bootstrap_servers"] == f"127.0.0.1:{port}"
        assert consumer.is_running
        consumer.signal(signal.SIGTERM)
        assert consumer.wait(20) == 0
        assert "Traceback" not in consumer.output()
        assert SECRET not in consumer.output()


def test_the_list_names_every_consumer_with_its_topic_and_group() -> None:
    run = run_command("list")
    assert run.returncode == 0
    for each in CONSUMERS:
        for text in (each.name, each.logical_topic, each.default_group, each.description):
            assert text in run.stdout


def test_the_list_of_all_names_the_topics_that_can_not_be_carried_and_why() -> None:
    shown = run_command("list", "--all").stdout
    listed = json.loads(run_command("list", "--all", "--json").stdout)
    for topic, reason in NOT_CARRIED.items():
        assert f"Not carried: {reason}" in shown
        assert {"name": None, "topic": topic, "not_carried": reason} in listed
    assert "Not carried" not in run_command("list").stdout


def test_the_list_as_json_says_the_same() -> None:
    run = run_command("list", "--json")
    assert run.returncode == 0
    assert json.loads(run.stdout) == [
        {
            "name": each.name,
            "description": each.description,
            "topic": each.logical_topic,
            "group": each.default_group,
            "set": each.topic_set,
        }
        for each in CONSUMERS
    ]


def test_the_configuration_is_shown_with_origins_and_without_secrets(tmp_path: Path) -> None:
    config = tmp_path / "c.yml"
    config.write_text(f"workers: 3\nkafka_config:\n  sasl.password: {SECRET}\n")
    environment = {"CONSUMER_UPSTREAM_DSN": DSN[1]}
    arguments = ("config", "--config", str(config), "--set", "connections=7")
    as_table = run_command(*arguments, environment=environment)
    as_json = run_command(*arguments, "--json", environment=environment)
    assert (as_table.returncode, as_json.returncode) == (0, 0)
    shown = json.loads(as_json.stdout)
    assert tuple(shown) == FIELDS
    assert shown["workers"] == {"value": 3, "origin": f"file {config}"}
    assert shown["connections"] == {"value": 7, "origin": "command line"}
    assert shown["upstream_dsn"]["origin"] == "environment CONSUMER_UPSTREAM_DSN"
    said = output_of(as_table) + output_of(as_json)
    for name in FIELDS:
        assert f"{name} " in said


def test_the_version_is_that_of_the_distribution() -> None:
    run = run_command("--version")
    assert run.returncode == 0
    assert run.stdout.startswith("consumer, version ")


def test_help_ends_with_commands_to_copy_and_each_of_them_is_right() -> None:
    run = run_command("run", "--help")
    assert run.returncode == 0
    _, _, examples = run.stdout.partition("Examples:\n")
    block = examples.split("\n\n")[0].replace("\\\n", " ")
    commands = [shlex.split(line) for line in block.splitlines()]
    assert len(commands) >= 3
    for program, name, *arguments in commands:
        assert program == "consumer"
        command = main.get_command(click.Context(main), name)
        assert command is not None
        command.make_context(name, list(arguments))


def test_help_names_every_command_and_every_exit_code() -> None:
    run = run_command("--help")
    assert run.returncode == 0
    assert all(f"\n  {name} " in run.stdout for name in ("config", "list", "run"))
    assert all(
        f" {code} " in run.stdout for code in (0, 1, 2, 65, 69, 70, 74, 75, 78, 130, 143, 141)
    )


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("command", ["list", "config --example"])
def test_output_that_nobody_takes_is_no_bug(command: str, *, buffered: bool) -> None:
    environment = clean_environment()
    if buffered:
        del environment["PYTHONUNBUFFERED"]
    reading, writing = os.pipe()
    os.close(reading)
    for target, code, says in (
        (writing, 141, ""),
        (os.open("/dev/full", os.O_WRONLY), 74, "the output can't be written: No space left"),
    ):
        run = subprocess.run(
            [CONSUMER, *command.split()],
            env=environment,
            stdout=target,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        os.close(target)
        assert run.returncode == code
        assert says in run.stderr
        assert "Traceback" not in run.stderr
        assert bool(run.stderr) is bool(says)


def test_a_command_that_does_not_exist_is_a_usage_error() -> None:
    run = run_command("runn")
    assert "No such command 'runn'" in output_of(run)
    assert run.returncode == 2


def test_an_error_moves_no_terminals_cursor() -> None:
    run = run_command("dlq", "list", "--file", "a\x1b[2J.recording")
    assert "a\\x1b[2J.recording can't be read" in output_of(run)
    assert "\x1b" not in run.stderr
    assert run.returncode == 65


def test_a_broken_pipe_elsewhere_is_not_the_outputs_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    # It returns, and does not exit.
    _exit_if_output_is_lost(BrokenPipeError(errno.EPIPE, "Broken pipe"))


def test_the_end_of_a_command_is_no_search_for_garbage() -> None:
    program = (
        "import atexit, gc\n"
        "atexit.register(lambda: print('frozen:', gc.get_freeze_count() > 0))\n"
        "from consumer_fleet.cli import main\n"
        "main()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, "list"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.endswith("\nfrozen: True\n")
