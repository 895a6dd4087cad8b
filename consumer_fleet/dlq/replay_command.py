"""``consumer dlq replay``: dead letters back through their consumer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from consumer_fleet.command_options import (
    DELIVERY_OPTIONS,
    Connection,
    complete_consumer,
    connection_options,
)
from consumer_fleet.dlq.options import Topics, filter_options, place_of, selection_of, topic_options

_EPILOG = """
\b
Examples:
  consumer dlq replay --topic ingest-events --dry-run
  consumer dlq replay --topic ingest-events --yes
  consumer dlq replay --topic ingest-events --reason invalid_msgpack \\
      --transform fix:run --yes
  consumer dlq replay --dlq-topic shared-dlq --through events --since -1d

Without a filter it begins where the last one ended (group
consumer-fleet-dlq-DLQ-TOPIC) and commits what is settled. With --reason,
--origin, --since or --until it moves no group: repeated, it sends again.
What is rejected goes to a file, never back to the topic.
"""


@click.command("replay", epilog=_EPILOG)
@topic_options
@filter_options
@click.option("--transform", metavar="MODULE:FUNCTION", help="Mends each Record; None skips it.")
@click.option(
    "--through",
    metavar="CONSUMER",
    shell_complete=complete_consumer,
    help="For all of them; default by their origin.",
)
@click.option(
    "--rejects",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="For what is rejected again; default DLQ-TOPIC.rejected.recording.",
)
@click.option("--yes", is_flag=True, help="Send, even to another machine.")
@click.option("--dry-run", is_flag=True, help="Only say what would be replayed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("--upstream-dsn", metavar="DSN", help="Where every message goes first.")
@click.option("--saas-dsn", metavar="DSN", help="The second destination.")
@click.option("--workers", metavar="N", type=int, help="Worker processes; default: usable CPUs.")
@connection_options
def dlq_replay_command(topics: Topics, connection: Connection, **given: Any) -> None:
    """Send dead letters through their consumer again, mended if need be.

    Each is restored first: without its dlq.* headers, and with the event id that it had.
    """
    from consumer_fleet.bootstrap.options import delivery_mode
    from consumer_fleet.dlq.letters import dead_letter_topic
    from consumer_fleet.dlq.replay import DeadLetterReplay

    connection = connection.adding(**{name: given[name] for name in DELIVERY_OPTIONS})
    cluster = connection.resolve()
    if not given["dry_run"]:
        # Never a demonstration: its receiver keeps nothing, and the group would move all the same.
        delivery_mode(cluster.options)
    place = dead_letter_topic(*topics, cluster.options)
    replay = DeadLetterReplay(place, _request(given), cluster.options, cluster.kafka)
    sys.exit(replay.run())


def _request(given: dict[str, Any]) -> Any:
    from consumer_fleet.dlq.replay import ReplayRequest
    from consumer_fleet.kafka.offset_spec import EARLIEST, LATEST

    since, until = given["since"], given["until"]
    return ReplayRequest(
        selection=selection_of(given["reasons"], given["origin"]),
        since=None if since is None else place_of(since, EARLIEST),
        until=None if until is None else place_of(until, LATEST),
        transform=given["transform"],
        through=given["through"],
        rejects=given["rejects"],
        yes=given["yes"],
        dry_run=given["dry_run"],
        as_json=given["as_json"],
    )
