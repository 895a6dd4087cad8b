"""The options of every command that talks to a Kafka cluster, and what they resolve to."""

from __future__ import annotations

import functools
import getpass
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import Options
#: The options that only commands with deliveries have.
DELIVERY_OPTIONS = ("upstream_dsn", "saas_dsn", "workers")


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What the command line, the environment and the config file say of the cluster.

    ``kafka`` holds the librdkafka settings that every client of this program shares; a client's
    own (``consumer_fleet.kafka.clients``) are made from it. ``servers`` is for messages to people.
    """

    options: Options
    kafka: dict[str, Any]

    @property
    def servers(self) -> str:
        return str(self.kafka["bootstrap.servers"])


def kafka_properties(
    _: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """A click callback: repeated ``NAME=VALUE`` as options ``kafka_config.NAME``, so that they
    leave what ``--set kafka_config=…`` says of other properties.
    """
    found = {}
    for number, value in enumerate(values, start=1):
        name, separator, rest = value.partition("=")
        if not separator or not name:
            # Without the text: it may be a secret.
            raise click.BadParameter(f"number {number} is not NAME=VALUE", param=parameter)
        found[f"kafka_config.{name}"] = rest
    return found


def connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--bootstrap-servers``, ``--kafka-config``, ``--config`` and ``--set``, which the
    command gets as its parameter ``connection``.
    """

    @click.option("--bootstrap-servers", metavar="H:P,…", help="Kafka brokers to start from.")
    @click.option(
        "--kafka-config",
        metavar="K=V",
        multiple=True,
        callback=kafka_properties,
        help="A librdkafka setting.",
    )
    @click.option("--config", type=click.Path(path_type=Path), metavar="PATH", help="Config file.")
    @click.option("--set", "settings", metavar="OPTION=VALUE", multiple=True, help="Any option.")
    @functools.wraps(command)
    def with_connection(
        *args: Any,
        bootstrap_servers: str | None,
        kafka_config: dict[str, str],
        config: Path | None,
        settings: tuple[str, ...],
        **others: Any,
    ) -> Any:
        from consumer_fleet.bootstrap.sources import set_pairs

        connection = Connection({**set_pairs(settings), **kafka_config}, config).adding(
            bootstrap_servers=bootstrap_servers
        )
        return command(*args, connection=connection, **others)

    return with_connection


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of ``connection_options``; the command gets what they resolve to as its
    parameter ``cluster``. Without a broker it ends with 78.
    """

    @connection_options
    @functools.wraps(command)
    def with_cluster(*args: Any, connection: Connection, **others: Any) -> Any:
        return command(*args, cluster=connection.resolve(), **others)

    return with_cluster


@dataclass(frozen=True, slots=True)
class Connection:
    """What a command line says: options by name, and where the configuration file is."""

    command_line: Mapping[str, object]
    config: Path | None = None

    def adding(self, **options: object) -> Connection:
        """With further options; those that are None were not given."""
        given = {name: value for name, value in options.items() if value is not None}
        return Connection({**self.command_line, **given}, self.config)

    def resolve(self, *, required: bool = True) -> ClusterOptions:
        """The options of this process, and its log set up by them. Raises ConfigurationError where
        no broker is named, unless the command can do without (not ``required``).
        """
        from consumer_fleet.bootstrap.logging_setup import configure_logging
        from consumer_fleet.bootstrap.sources import resolve_options
        from consumer_fleet.errors import ConfigurationError
        from consumer_fleet.kafka.clients import client_config

        options = resolve_options(self.command_line, self.config, os.environ).options
        configure_logging(options.log_format, options.log_level)
        if required and not options.brokers:
            raise ConfigurationError(
                "no Kafka broker is named. Give it as --bootstrap-servers kafka:9092, in the "
                "environment as CONSUMER_BOOTSTRAP_SERVERS, or in the configuration file as "
                "bootstrap_servers."
            )
        return ClusterOptions(options, client_config(options.brokers, options.kafka_config))


_SHELLS = ("bash", "zsh", "fish")
# What click looks for in the environment of a program called ``consumer``.
_VARIABLE = "_CONSUMER_COMPLETE"

_EPILOG = """
To install it, write it where your shell looks for it; for zsh, ~/.zfunc has to be in fpath before
compinit runs. It works in shells that are started afterwards.

\b
Examples:
  consumer completion bash \\
      > ~/.local/share/bash-completion/completions/consumer
  consumer completion zsh > ~/.zfunc/_consumer
  consumer completion fish > ~/.config/fish/completions/consumer.fish
"""


@click.command("completion", epilog=_EPILOG)
@click.argument("shell", type=click.Choice(_SHELLS))
def completion_command(shell: str) -> None:
    """Print the script that completes commands and options in a shell.

    It completes commands, options, their choices, files, and the names of consumers. In bash 4.4
    or newer, for this shell alone: source <(consumer completion bash)
    """
    from click.shell_completion import get_completion_class

    completer = get_completion_class(shell)
    assert completer is not None  # click brings all of _SHELLS along
    program = click.get_current_context().find_root().command
    click.echo(completer(program, {}, "consumer", _VARIABLE).source(), nl=False)


def complete_consumer(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """For ``shell_complete`` of options that take the name of a consumer."""
    from consumer_fleet.consumers.registry import names

    return [name for name in names() if name.startswith(incomplete)]


def user_name() -> str:
    """The operating system's user; a number where it has no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
