"""``consumer list``: the consumers that exist."""

from __future__ import annotations

import json

import click

from consumer_fleet.consumers.registry import NOT_CARRIED, every_consumer, skipped_consumers

_EPILOG = """
\b
Examples:
  consumer list
  consumer list --all
  consumer list --json
"""


@click.command("list", epilog=_EPILOG)
@click.option("--all", "with_others", is_flag=True, help="Add Sentry's other topics.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def list_command(with_others: bool, as_json: bool) -> None:
    """List the consumers: name, topic, group, set of topics.

    The sets "ingest" and "processed" hold the same data. Consumers of other installed
    distributions are included; one that can't be used is named on standard error. --all adds the
    topics that can't be carried, and the reason.
    """
    found = list(every_consumer())
    others = NOT_CARRIED if with_others else {}
    if as_json:
        members: list[dict[str, str | None]] = [
            {
                "name": each.name,
                "description": each.description,
                "topic": each.logical_topic,
                "group": each.default_group,
                "set": each.topic_set,
            }
            for each in found
        ]
        members += [
            {"name": None, "topic": topic, "not_carried": reason}
            for topic, reason in others.items()
        ]
        click.echo(json.dumps(members, indent=2))
    else:
        width = max(len(name) for name in (*(each.name for each in found), *others)) + 2
        for each in found:
            click.echo(f"{each.name:<{width}}{each.description}")
            where = f"topic {each.logical_topic}, group {each.default_group}"
            named = f", set {each.topic_set}" if each.topic_set else ""
            click.echo(f"{'':<{width}}{where}{named}")
        for topic, reason in others.items():
            click.echo(f"{topic:<{width}}Not carried: {reason}")
    for skipped in skipped_consumers():
        click.echo(f"consumer: skipped {skipped.name!r}: {skipped.problem}", err=True)
