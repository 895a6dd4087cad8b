"""``consumer dlq replay``: dead letters back through their consumer."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from consumers.commands.cluster_options import pairs
from consumers.commands.completion import complete_consumer
from consumers.commands.dlq_options import (
    Topics,
    filter_options,
    place_of,
    selection_of,
    topic_options,
)

_EPILOG = """
\b
Examples:
  consumer dlq replay --topic ingest-events --dry-run
  consumer dlq replay --topic ingest-events --yes
  consumer dlq replay --topic ingest-events --reason invalid_msgpack \\
      --transform fix:run --yes
  consumer dlq replay --dlq-topic shared-dlq --through events --since -1d

Without a filter it begins where the last one ended (group
consumer-fleet-dlq-TOPIC) and commits what is delivered. With --reason,
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
    help="For what is rejected again; default TOPIC.rejected.recording.",
)
@click.option("--yes", is_flag=True, help="Send, even to another machine.")
@click.option("--dry-run", is_flag=True, help="Only say what would be replayed.")
@click.option("--bootstrap-servers", metavar="H:P,…", help="Kafka brokers to start from.")
@click.option(
    "--kafka-config", metavar="K=V", multiple=True, callback=pairs, help="A librdkafka setting."
)
@click.option("--upstream-dsn", metavar="DSN", help="Where every message goes first.")
@click.option("--saas-dsn", metavar="DSN", help="The second destination.")
@click.option("--workers", metavar="N", type=int, help="Worker processes; default: usable CPUs.")
@click.option("--config", type=click.Path(path_type=Path), metavar="PATH", help="Config file.")
@click.option("--set", "settings", metavar="OPTION=VALUE", multiple=True, help="Any option.")
def dlq_replay_command(
    topics: Topics,
    config: Path | None,
    settings: tuple[str, ...],
    **given: Any,
) -> None:
    """Send dead letters through their consumer again, mended if need be.

    Each is restored first: without its dlq.* headers, and with the event id that it had.
    """
    from consumers.dlq.place import dead_letter_topic
    from consumers.dlq.replay import DeadLetterReplay
    from fleet.bootstrap.logging_setup import configure_logging
    from fleet.bootstrap.options import delivery_mode
    from fleet.bootstrap.sources import resolve_options, set_pairs
    from fleet.errors import ConfigurationError
    from fleet.kafka.configuration import client_config

    names = ("bootstrap_servers", "kafka_config", "upstream_dsn", "saas_dsn", "workers")
    command_line = {name: given[name] for name in names if given[name] not in (None, {})}
    command_line = {**set_pairs(settings), **command_line}
    options = resolve_options(command_line, config, os.environ).options
    configure_logging(options.log_format, options.log_level)
    if not options.brokers:
        raise ConfigurationError(
            "no Kafka broker is named. Give it as --bootstrap-servers kafka:9092, in the "
            "environment as CONSUMER_BOOTSTRAP_SERVERS, or in the configuration file as "
            "bootstrap_servers."
        )
    if not given["dry_run"]:
        # Never a demonstration: its receiver keeps nothing, and the group would move all the same.
        delivery_mode(options)
    place = dead_letter_topic(*topics, options)
    kafka = client_config(options.brokers, options.kafka_config)
    replay = DeadLetterReplay(place, _request(given), options, kafka)
    sys.exit(replay.run(command_line, config))


def _request(given: dict[str, Any]) -> Any:
    from consumers.dlq.replay import ReplayRequest
    from fleet.kafka.places import EARLIEST, LATEST

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
    )
