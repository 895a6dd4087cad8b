"""``consumer config``: every option, its value and where it comes from."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from consumer_fleet.command_options import program_options, takes

if TYPE_CHECKING:
    from rich.table import Table

    from consumer_fleet.bootstrap.resolve import OptionsRequest, Resolved
_EPILOG = """
\b
Examples:
  consumer config
  consumer config --example > config.yml
  consumer config --config config.yml --json
"""

_EXAMPLE_WIDTH = 98
_EXAMPLE_HEAD = """\
# Options of consumer-fleet, with their defaults. Uncomment those that you change.
# Each can also be set with --set NAME=VALUE, or in the environment as CONSUMER_NAME.
# Precedence: command line, environment, Django settings (CONSUMER = {...}), Sentry's settings
# (SENTRY_CONF), this file, default.
"""


@dataclass(frozen=True, slots=True)
class ConfigRequest:
    """The command line of ``consumer config``."""

    options: OptionsRequest
    as_json: bool
    example: bool


@click.command(
    "config",
    epilog=_EPILOG,
    short_help="Show every option, its value and where it comes from.",
)
@program_options()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--example", is_flag=True, help="Print a commented configuration file and exit.")
@takes(ConfigRequest)
def config_command(request: ConfigRequest) -> None:
    """Show every option, its value and where it comes from. Secrets are redacted.

    It opens no connection, so it is safe to run next to a consumer.
    """
    from consumer_fleet.bootstrap.resolve import resolve_options

    if request.example:
        click.echo(example_yaml(), nl=False)
        return
    resolved = resolve_options(request.options)
    if request.as_json:
        click.echo(json.dumps(as_plain_data(resolved), indent=2))
    else:
        _print_table(resolved)


def as_plain_data(resolved: Resolved) -> dict[str, dict[str, Any]]:
    """Option → value and origin, secrets redacted; the structure that ``--json`` prints."""
    from consumer_fleet.bootstrap.parsing import shown

    return {
        name: {"value": shown(name, getattr(resolved.options, name)), "origin": origin}
        for name, origin in resolved.origins.items()
    }


def _print_table(resolved: Resolved) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        # A pipe has no width: fold nothing, so that grep finds a whole value on its line.
        console = Console(width=10_000, no_color=True)
    console.print(_table(resolved))


def _table(resolved: Resolved) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("Option", "Value", "Origin", box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].no_wrap = True
    for name, entry in as_plain_data(resolved).items():
        style = "dim" if entry["origin"] == "default" else ""
        # Text, not markup: a value may hold square brackets.
        table.add_row(
            *(Text(cell, style) for cell in (name, _cell(entry["value"]), entry["origin"]))
        )
    return table


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def example_yaml() -> str:
    """A configuration file with all options commented out: as it is, it changes nothing."""
    from consumer_fleet.bootstrap.options import Options

    blocks = [_EXAMPLE_HEAD]
    for name, field in Options.model_fields.items():
        lines = textwrap.wrap(field.description or "", _EXAMPLE_WIDTH)
        # JSON is YAML, and on one line.
        value = json.dumps(field.default)
        blocks.append("\n".join([*(f"# {line}" for line in lines), f"#{name}: {value}"]) + "\n")
    return "\n".join(blocks)
