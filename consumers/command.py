"""``consumer list``: the consumers that exist."""

from __future__ import annotations

import json

import click

from consumer_fleet.consumers.registry import CONSUMERS

_EPILOG = """
\b
Examples:
  consumer list
  consumer list --json
"""


@click.command("list", epilog=_EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def list_command(as_json: bool) -> None:
    """List the consumers: name, topic, group."""
    if as_json:
        members = [
            {
                "name": each.name,
                "description": each.description,
                "topic": each.logical_topic,
                "group": each.default_group,
            }
            for each in CONSUMERS
        ]
        click.echo(json.dumps(members, indent=2))
        return
    for definition in CONSUMERS:
        click.echo(f"{definition.name:<15}{definition.description}")
        click.echo(f"{'':<15}topic {definition.logical_topic}, group {definition.default_group}")
