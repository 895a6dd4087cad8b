"""``consumer run``: the command line of a consumer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from consumer_fleet.command_options import complete_consumer, kafka_properties

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
"consumer config" shows each one's value and where it came from.
"""


@click.command("run", epilog=_EPILOG)
@click.option(
    "--topic",
    metavar="NAME",
    shell_complete=complete_consumer,
    help="The consumer to run: its logical topic.",
)
@click.option("--physical-topic", metavar="T", help="The topic's name on this cluster.")
@click.option("--bootstrap-servers", metavar="H:P,…", help="Kafka brokers to start from.")
@click.option(
    "--kafka-config",
    metavar="K=V",
    multiple=True,
    callback=kafka_properties,
    help="A librdkafka setting.",
)
@click.option("--group", metavar="G", help="Consumer group; default consumer-fleet-NAME.")
@click.option("--upstream-dsn", metavar="DSN", help="Where every message goes first.")
@click.option("--saas-dsn", metavar="DSN", help="The second destination.")
@click.option("--set", "settings", metavar="OPTION=VALUE", multiple=True, help="Any option.")
@click.option("--workers", metavar="N", type=int, help="Worker processes; default: usable CPUs.")
@click.option(
    "--auto-offset-reset",
    type=click.Choice(["earliest", "latest", "error"]),
    help="Where to start without a usable committed offset; default earliest.",
)
@click.option(
    "--stop-at-end", is_flag=True, default=None, help="Stop at the end offsets seen at start."
)
@click.option("--dlq-topic", metavar="T", help="Dead letter topic; default PHYSICAL-TOPIC-dlq.")
@click.option(
    "--no-dlq", is_flag=True, default=None, help="No dead letter topic: a bad message stops."
)
@click.option("--max-in-flight-mb", metavar="M", type=int, help="Budget of undelivered payloads.")
@click.option(
    "--shutdown-timeout", metavar="S", type=float, help="Seconds to drain after a signal."
)
@click.option(
    "--healthcheck-file", metavar="PATH", type=click.Path(path_type=Path), help="Heartbeat file."
)
@click.option(
    "--config", metavar="PATH", type=click.Path(path_type=Path), help="Config file or its folder."
)
@click.option("--log-format", type=click.Choice(["human", "json"]), help="Default: by terminal.")
@click.option("--log-level", metavar="L", help="debug, info, warning or error.")
def run_command(
    config: Path | None, settings: tuple[str, ...], kafka_config: dict[str, str], **options: Any
) -> None:
    """Run one consumer until a signal, or until the end of its topic."""
    from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options, set_pairs
    from consumer_fleet.run.run import run_consumer

    given = {name: value for name, value in options.items() if value is not None}
    request = OptionsRequest({**set_pairs(settings), **kafka_config, **given}, config)
    sys.exit(run_consumer(resolve_options(request).options))
