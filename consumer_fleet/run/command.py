"""``consumer run``: the command line of a consumer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from consumer_fleet.command_options import (
    RUN,
    complete_consumer,
    program_option,
    program_options,
    set_of_option,
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
  consumer run --set-of ingest --config /etc/consumer/config.yml
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
        multiple=True,
        shell_complete=complete_consumer,
        help="The consumer to run: its logical topic. May be repeated.",
    ),
    *RUN,
)
@set_of_option
@click.option("--yes", is_flag=True, help="Run topics that have the same data.")
def run_command(options: OptionsRequest, topic_sets: tuple[str, ...], *, yes: bool) -> None:
    """Run consumers until a signal, or until the end of their topics.

    Several of them share one process and its workers, each with its own group.
    """
    from consumer_fleet.bootstrap.resolve import resolve_options
    from consumer_fleet.consumers.registry import in_sets
    from consumer_fleet.run.consumer_run import run_consumer

    if topic_sets:
        named = options.given.get("topic") or ()
        named = named if isinstance(named, list | tuple) else [named]
        options = options.adding(topic=[*named, *in_sets(topic_sets)])
    sys.exit(run_consumer(lambda: resolve_options(options).options, may_repeat=yes))
