"""``--help`` of every command, at the terminal's width."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.cli import main


def commands(command: click.Command = main, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from commands(child, *path, name)


def context_of(path: tuple[str, ...]) -> click.Context:
    context: click.Context = main.context_class(main, info_name="consumer", **main.context_settings)
    for name in path:
        assert isinstance(context.command, click.Group)
        child = context.command.get_command(context, name)
        assert child is not None
        context = child.context_class(child, context, name, **child.context_settings)
    return context


def help_of(
    path: tuple[str, ...], columns: int | None, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
        monkeypatch.setattr("sys.__stdout__", None)
    else:
        monkeypatch.setenv("COLUMNS", str(columns))
    return context_of(path).get_help().splitlines()


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
@pytest.mark.parametrize("columns", [80, 120])
def test_lines_fit_into_the_terminal_and_wrap_at_words(
    path: tuple[str, ...], columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = help_of(path, columns, monkeypatch)
    assert [line for line in lines if len(line) > columns] == []
    assert [line for line in lines if line.endswith("-")] == []


@pytest.mark.parametrize("path", [(), ("dlq",), ("offsets",)], ids=" ".join)
@pytest.mark.parametrize("columns", [80, 120])
def test_a_list_of_commands_has_whole_descriptions(
    path: tuple[str, ...], columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = " ".join(" ".join(help_of(path, columns, monkeypatch)).split())
    children = [each for each in commands() if each and each[:-1] == path]
    for child in children:
        text = " ".join((context_of(child).command.help or "").split("\n\n")[0].split())
        assert f"{child[-1]} {text.partition('. ')[0]}" in shown
    assert children


def test_help_is_wider_in_a_wide_terminal_and_80_columns_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    widths = [max(map(len, help_of((), columns, monkeypatch))) for columns in (80, 120, 300, None)]
    assert widths[0] == widths[3] <= 80
    assert 80 < widths[1] == widths[2] <= 120


def test_doctor_takes_every_option_of_run_that_can_be_configured() -> None:
    run, doctor = (
        {name for each in context_of((command,)).command.params for name in each.opts}
        for command in ("run", "doctor")
    )
    configured = {f"--{name.replace('_', '-')}" for name in Options.model_fields}
    assert (run & configured) - doctor == set()
    assert "--dlq-topic" in run & configured & doctor
