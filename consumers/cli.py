"""The command line. Each command imports what it needs: a spawned worker re-imports this module
before it does anything else, and ``--help`` should not wait for librdkafka.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from fleet.errors import EXIT_BUG, EXIT_FORCED_INT, FleetError

_EXIT_CODES = """
\b
Exit codes:
  0    done, or stopped by one signal
  2    the command line is wrong
  65   a message was rejected and there is no dead letter topic
  69   no Kafka broker answers
  70   a bug in this program
  78   the configuration is wrong
  130  forced by a second INT, 143 by a second TERM

\b
Examples:
  consumer run --topic events --stop-at-end      a demonstration, with nothing configured
  consumer list
  consumer config --example > config.yml
  consumer run --topic ingest-events --config config.yml
"""


# Commands in files of their own: imported when they are called for.
_LAZY = {"config": ("consumers.config", "config_command")}


class _Commands(click.Group):
    """Turns errors into one line on stderr and a named exit code; a traceback means our bug."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_LAZY])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _LAZY:
            return super().get_command(ctx, cmd_name)
        module, name = _LAZY[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FleetError as error:
            click.echo(f"consumer: {error}", err=True)
            sys.exit(error.exit_code)
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except KeyboardInterrupt:
            sys.exit(EXIT_FORCED_INT)
        except Exception:
            traceback.print_exc()
            click.echo("consumer: this is a bug in consumer-fleet; the trace is above", err=True)
            sys.exit(EXIT_BUG)


@click.group(cls=_Commands, epilog=_EXIT_CODES)
@click.version_option(package_name="consumer-fleet")
def main() -> None:
    """Carry Sentry events from Kafka topics to Sentry-compatible upstreams and lose none."""


def _pairs(_: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for number, value in enumerate(values, start=1):
        name, separator, rest = value.partition("=")
        if not separator or not name:
            # Without the text: it may be a secret.
            raise click.BadParameter(f"number {number} is not NAME=VALUE", param=parameter)
        pairs[name] = rest
    return pairs


_RUN_EPILOG = """
\b
Examples:
  consumer run --topic events
  consumer run --topic events --stop-at-end
  consumer run --topic ingest-events --bootstrap-servers kafka:9092 \\
      --upstream-dsn https://KEY@sentry.example.com/1 --workers 4
  consumer run --topic envelopes --config /etc/consumer/config.yml --set connections=128

Every option is also CONSUMER_<NAME> in the environment and a key of the config file;
"consumer config" shows each one's value and where it came from.
"""


@main.command(epilog=_RUN_EPILOG)
@click.option("--topic", metavar="NAME", help="The consumer to run: its logical topic.")
@click.option("--physical-topic", metavar="T", help="The topic's name on this cluster.")
@click.option("--bootstrap-servers", metavar="H:P,…", help="Kafka brokers to start from.")
@click.option(
    "--kafka-config", metavar="K=V", multiple=True, callback=_pairs, help="A librdkafka setting."
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
def run(config: Path | None, settings: tuple[str, ...], **options: Any) -> None:
    """Run one consumer until a signal, or until the end of its topic."""
    from consumers.run import run_consumer
    from fleet.bootstrap.sources import set_pairs

    sys.exit(run_consumer({**set_pairs(settings), **_given(options)}, config))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value not in (None, {}, ())}


@main.command("list")
def list_consumers() -> None:
    """List the consumers: name, topic, group."""
    from consumers.registry import CONSUMERS

    for definition in CONSUMERS:
        click.echo(f"{definition.name:<15}{definition.description}")
        click.echo(f"{'':<15}topic {definition.logical_topic}, group {definition.default_group}")


if __name__ == "__main__":
    main()
