"""The habits of every command: help, examples, width, hints, and a quick start."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from consumer_fleet.cli import main
from consumer_fleet.consumers.registry import CONSUMERS
from tests.support.consumer_process import clean_environment, run_command

WIDTH = 80
# Commands that do something, and say how it went: they print no data for scripts.
NO_DATA = {
    ("completion",),
    ("dlq", "export"),
    ("dlq", "purge"),
    ("dlq", "replay"),
    ("inspect",),
    ("record",),
    ("replay",),
    ("run",),
}
# Help must not wait for these, nor must a worker, which imports the command line first.
SLOW = ("confluent_kafka", "pydantic", "sentry_sdk", "arroyo", "pycurl", "rich", "structlog")
NAMES_OF_CONSUMERS = {"--topic", "--to-topic", "--consumer", "--through", "--format"}


def commands(
    command: click.Command = main, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command and subcommand, with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from commands(child, (*path, name))


COMMANDS = dict(commands())
IDS = [" ".join(path) or "consumer" for path in COMMANDS]
EVERY = pytest.mark.parametrize("path", COMMANDS, ids=IDS)
LEAVES = [path for path, command in COMMANDS.items() if not isinstance(command, click.Group)]


def helped(path: tuple[str, ...]) -> str:
    result = CliRunner().invoke(main, [*path, "--help"], terminal_width=WIDTH)
    assert result.exit_code == 0, result.output
    return result.output


def examples(path: tuple[str, ...]) -> list[str]:
    """The commands below "Examples:", one line each; titles between them are left out."""
    text = re.sub(r"(?m)^ *Examples:$", "Examples:", helped(path))
    _, _, block = text.partition("\nExamples:\n")
    lines = block.split("\n\n")[0].replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip().startswith("consumer ")]


def options(path: tuple[str, ...]) -> list[click.Option]:
    return [each for each in COMMANDS[path].params if isinstance(each, click.Option)]


@EVERY
def test_help_fits_a_terminal(path: tuple[str, ...]) -> None:
    long = [line for line in helped(path).splitlines() if len(line) > WIDTH]
    assert long == []


@EVERY
def test_help_describes_the_command_in_a_sentence(path: tuple[str, ...]) -> None:
    sentence = COMMANDS[path].get_short_help_str(limit=200)
    assert sentence[:1].isupper()
    assert sentence.endswith(".")
    assert not sentence.endswith("...")


@EVERY
def test_every_option_has_a_description(path: tuple[str, ...]) -> None:
    silent = [each.opts[0] for each in options(path) if not each.help and not each.hidden]
    assert silent == []


@EVERY
def test_the_examples_are_commands_of_this_kind(path: tuple[str, ...]) -> None:
    for line in examples(path):
        words = shlex.split(line)
        assert tuple(words[1 : 1 + len(path)]) == path, line


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_help_has_commands_to_copy(path: tuple[str, ...]) -> None:
    """Its own help, or the one of the group that it belongs to."""
    shown = [line for end in range(1, len(path) + 1) for line in examples(path[:end])]
    assert any(tuple(shlex.split(line)[1 : 1 + len(path)]) == path for line in shown)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_the_options_of_the_examples_exist(path: tuple[str, ...]) -> None:
    known = {name for each in COMMANDS[path].params for name in each.opts + each.secondary_opts}
    for line in examples(path):
        used = re.findall(r"(?<=\s)--[a-z][a-z-]*", line)
        assert set(used) <= known, line


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_commands_that_print_data_print_json_too(path: tuple[str, ...]) -> None:
    names = {name for each in options(path) for name in each.opts}
    assert path in NO_DATA or "--json" in names


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_names_of_consumers_are_completed(path: tuple[str, ...]) -> None:
    context = click.Context(COMMANDS[path])
    for option in options(path):
        if NAMES_OF_CONSUMERS & set(option.opts):
            offered = {item.value for item in option.shell_complete(context, "")}
            assert {each.name for each in CONSUMERS} <= offered, option.opts


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_an_unknown_option_is_a_usage_error_with_the_way_to_help(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--no-such-option"])
    assert result.exit_code == 2
    assert "No such option '--no-such-option'" in result.stderr
    assert f"Try 'main {' '.join(path)} --help' for help." in result.stderr
    assert result.stdout == ""


def test_a_kafka_property_leaves_the_others_that_are_set() -> None:
    run = run_command(
        *("dlq", "list", "--topic", "events", "--bootstrap-servers", "127.0.0.1:9"),
        *("--set", "kafka_config=sasl.pasword=x", "--kafka-config", "client.rack=a"),
    )
    assert run.returncode == 78
    assert "sasl.pasword" in run.stderr


def test_a_misspelt_option_or_command_gets_a_hint() -> None:
    run = run_command("run", "--worker", "3")
    assert (run.returncode, run.stdout) == (2, "")
    assert "--workers" in run.stderr.splitlines()[-1]
    run = run_command("docter")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.splitlines()[-1] == (
        "Error: No such command 'docter'. Did you mean 'doctor'?"
    )
    run = run_command("xyzzy")
    assert run.stderr.splitlines()[-1] == "Error: No such command 'xyzzy'."


@EVERY
def test_help_waits_for_nothing_slow(path: tuple[str, ...]) -> None:
    code = f"""
import sys
from click.testing import CliRunner
from consumer_fleet.cli import main
assert CliRunner().invoke(main, {[*path, "--help"]!r}).exit_code == 0
print(*sorted(set({SLOW!r}) & set(sys.modules)))
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert run.stdout.split() == []
