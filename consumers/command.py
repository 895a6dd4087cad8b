"""``consumer list``: the consumers that exist."""

from __future__ import annotations

import json

import click

from consumer_fleet.consumers.registry import every_consumer, skipped_consumers

_EPILOG = """
\b
Examples:
  consumer list
  consumer list --json
"""


@click.command("list", epilog=_EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def list_command(as_json: bool) -> None:
    """List the consumers: name, topic, group.

    Consumers of other installed distributions are included; one that can't be used is named on
    standard error.
    """
    found = list(every_consumer())
    if as_json:
        members = [
            {
                "name": each.name,
                "description": each.description,
                "topic": each.logical_topic,
                "group": each.default_group,
            }
            for each in found
        ]
        click.echo(json.dumps(members, indent=2))
    else:
        for each in found:
            click.echo(f"{each.name:<15}{each.description}")
            click.echo(f"{'':<15}topic {each.logical_topic}, group {each.default_group}")
    for skipped in skipped_consumers():
        click.echo(f"consumer: skipped {skipped.name!r}: {skipped.problem}", err=True)
