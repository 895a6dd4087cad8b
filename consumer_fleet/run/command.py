"""``consumer run``: the command line of a consumer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consumer_fleet.command_options import (
    BOOTSTRAP_SERVERS,
    KAFKA_CONFIG,
    SAAS_DSN,
    UPSTREAM_DSN,
    WORKERS,
    complete_consumer,
    program_option,
    program_options,
)

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.resolve import OptionsRequest

_EPILOG = """
\b
Examples:
  consumer run --topic events
  consumer run --topic events --stop-at-end
  consumer run --topic ingest-events --bootstrap-servers kafka:9092 \\
      --upstream-dsn https://KEY@sentry.example.com/1 --workers 4
  consumer run --topic envelopes --config /etc/consumer/config.yml \\
      --set connections=128

Every option is also CONSUMER_<NAME> in the environment and a key of the config file;
"consumer config" shows the value of each and its source.
"""


@click.command("run", epilog=_EPILOG)
@program_options(
    program_option(
        "topic",
        metavar="NAME",
        shell_complete=complete_consumer,
        help="The consumer to run: its logical topic.",
    ),
    program_option("physical_topic", metavar="T", help="The topic's name on this cluster."),
    BOOTSTRAP_SERVERS,
    KAFKA_CONFIG,
    program_option("group", metavar="G", help="Consumer group; default consumer-fleet-NAME."),
    UPSTREAM_DSN,
    SAAS_DSN,
    WORKERS,
    program_option(
        "auto_offset_reset",
        type=click.Choice(["earliest", "latest", "error"]),
        help="Where to start without a usable committed offset; default earliest.",
    ),
    program_option(
        "stop_at_end", is_flag=True, default=None, help="Stop at the end offsets seen at start."
    ),
    program_option("dlq_topic", metavar="T", help="Dead-letter topic; default PHYSICAL-TOPIC-dlq."),
    program_option(
        "no_dlq", is_flag=True, default=None, help="No dead-letter topic: a bad message stops."
    ),
    program_option(
        "transform",
        metavar="M:F",
        multiple=True,
        help="A function that changes or drops events; may be repeated.",
    ),
    program_option(
        "validate_schema",
        type=click.Choice(["off", "warn"]),
        help="Compare a share of the messages with their schemas; default off.",
    ),
    program_option(
        "max_in_flight_mb", metavar="M", type=int, help="Budget of undelivered payloads."
    ),
    program_option(
        "shutdown_timeout", metavar="S", type=float, help="Seconds to drain after a signal."
    ),
    program_option(
        "healthcheck_file", metavar="PATH", type=click.Path(path_type=Path), help="Heartbeat file."
    ),
    program_option(
        "log_format", type=click.Choice(["human", "json"]), help="Default: human on a terminal."
    ),
    program_option("log_level", metavar="L", help="debug, info, warning or error."),
)
def run_command(options: OptionsRequest) -> None:
    """Run one consumer until a signal, or until the end of its topic."""
    from consumer_fleet.bootstrap.resolve import resolve_options
    from consumer_fleet.run.consumer_run import run_consumer

    sys.exit(run_consumer(lambda: resolve_options(options).options))
