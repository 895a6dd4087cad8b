"""The parts that commands share: options of the program, requests, completion of names.

A command turns its command line into **one frozen request object** and hands that on::

    @dataclass(frozen=True, slots=True)
    class ShowRequest:
        options: OptionsRequest   # from program_options; further fields are named like parameters
        topic: str
        as_json: bool

    @click.command("show", epilog=_EPILOG)
    @click.option("--topic", required=True, help="The topic to show.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @program_options(*CONNECTION)
    @takes(ShowRequest)
    def show_command(request: ShowRequest) -> None:
        cluster = resolve_cluster(request.options)

``program_options`` adds ``--config``, ``--set`` and those of the program's options that the command
names itself; they arrive together, as the ``options`` of the request. `resolve_cluster` (or
``resolve_options``) is called once per process, and its result is passed down as it is.
"""

from __future__ import annotations

import functools
import getpass
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import ClusterOptions
    from consumer_fleet.bootstrap.resolve import OptionsRequest

#: Help is as wide as the terminal, up to this: longer lines are hard to read.
HELP_WIDTH = 120
# No limit for click, which would cut a longer description.
_WHOLE = 1000
_UNBREAKABLE = "\N{NON-BREAKING HYPHEN}"
Request = TypeVar("Request")
Result = TypeVar("Result")


class _Formatter(click.HelpFormatter):
    """Wraps at words: names of topics and groups have hyphens, at which click would break them."""

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", _UNBREAKABLE))

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        unbreakable = [(first, second.replace("-", _UNBREAKABLE)) for first, second in rows]
        super().write_dl(unbreakable, col_max, col_spacing)

    def getvalue(self) -> str:
        return super().getvalue().replace(_UNBREAKABLE, "-")


class _Context(click.Context):
    formatter_class = _Formatter


class CommandGroup(click.Group):
    """A command with subcommands, whose help has the whole first sentence of each."""

    context_class = _Context

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = self.find_command(ctx, cmd_name)
        if command is not None:
            command.context_class = _Context
        return command

    def find_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The subcommand of that name."""
        return super().get_command(ctx, name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, command.get_short_help_str(_WHOLE))
            for name, command in commands
            if command is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@dataclass(frozen=True, slots=True)
class ProgramOption:
    """An option of the program (``bootstrap/options.py``) that a command names itself."""

    name: str
    decorate: Callable[[Callable[..., Any]], Callable[..., Any]]


def program_option(name: str, **attributes: Any) -> ProgramOption:
    """The option of that name as ``--NAME``; ``attributes`` are those of ``click.option``.

    An unset flag needs ``default=None``: False would count as given.
    """
    return ProgramOption(name, click.option(f"--{name.replace('_', '-')}", **attributes))


def _kafka_properties(
    _: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Repeated ``K=V`` as options ``kafka_config.K``, so that they keep other
    properties from ``--set kafka_config=…``.
    """
    from consumer_fleet.bootstrap.parsing import is_secret_property, split_pairs

    found = {}
    for number, value in enumerate(values, start=1):
        # A password is taken as it is; other values don't hold commas before a NAME=.
        is_secret = is_secret_property(value.partition("=")[0])
        for pair in [value] if is_secret else split_pairs(value) or [value]:
            name, separator, rest = pair.partition("=")
            if not separator or not name.strip():
                # Without the text: it may be a secret.
                raise click.BadParameter(f"number {number} is not NAME=VALUE", param=parameter)
            found[f"kafka_config.{name.strip()}"] = rest
    return found


BOOTSTRAP_SERVERS = program_option(
    "bootstrap_servers", metavar="H:P,…", help="Kafka brokers to start from."
)
KAFKA_CONFIG = program_option(
    "kafka_config",
    metavar="K=V",
    multiple=True,
    callback=_kafka_properties,
    help="A librdkafka setting.",
)
UPSTREAM_DSN = program_option("upstream_dsn", metavar="DSN", help="Where every message goes first.")
SAAS_DSN = program_option("saas_dsn", metavar="DSN", help="The second destination.")
WORKERS = program_option(
    "workers", metavar="N", type=int, help="Worker processes; default: usable CPUs - 1."
)
#: For commands that talk to a Kafka cluster, and for those that also deliver.
CONNECTION = (BOOTSTRAP_SERVERS, KAFKA_CONFIG)
DELIVERY = (UPSTREAM_DSN, SAAS_DSN, WORKERS, *CONNECTION)
#: Of `consumer run`, for it and for what checks it. Each names its consumers in its own way.
RUN = (
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
    program_option("dlq_topic", metavar="T", help="Dead-letter topic; default TOPIC-dlq."),
    program_option(
        "no_dlq",
        is_flag=True,
        default=None,
        help="No dead-letter topic: a rejected message stops the run.",
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
    program_option("serve", metavar="H:P", help="Show the run on a web page at PORT or HOST:PORT."),
    program_option(
        "log_format", type=click.Choice(["human", "json"]), help="Default: human on a terminal."
    ),
    program_option("log_level", metavar="L", help="debug, info, warning or error."),
)


def program_options(
    *options: ProgramOption,
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Add these options, ``--config`` and ``--set``. The command gets all of them as one
    `OptionsRequest`, its parameter ``options``.
    """

    def decorate(command: Callable[..., Result]) -> Callable[..., Result]:
        @functools.wraps(command)
        def with_options(
            *, config: Path | None, settings: tuple[str, ...], **values: Any
        ) -> Result:
            from consumer_fleet.bootstrap.resolve import OptionsRequest, set_pairs

            own = {option.name: values.pop(option.name) for option in options}
            properties = own.pop(KAFKA_CONFIG.name, {})
            request = OptionsRequest({**set_pairs(settings), **properties}, config)
            return command(options=request.adding(**own), **values)

        decorated: Callable[..., Result] = with_options
        for option in reversed((*(each.decorate for each in options), _CONFIG, _SET)):
            decorated = option(decorated)
        return decorated

    return decorate


_CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Configuration file, or a folder with a config.yml.",
)
_SET = click.option(
    "--set",
    "settings",
    metavar="OPTION=VALUE",
    multiple=True,
    help="Set any option; may be repeated.",
)


def takes(
    request: Callable[..., Request],
) -> Callable[[Callable[[Request], Result]], Callable[..., Result]]:
    """Hand the command its parameters as one object of that class, whose fields they name."""

    def decorate(command: Callable[[Request], Result]) -> Callable[..., Result]:
        @functools.wraps(command)
        def with_request(**values: Any) -> Result:
            return command(request(**values))

        return with_request

    return decorate


def resolve_cluster(request: OptionsRequest, *, needs_broker: bool = True) -> ClusterOptions:
    """The options of this process, whose log is set up by them.

    Raises ConfigurationError where no broker is named, unless the command can do without.
    """
    from consumer_fleet.bootstrap.logging_setup import configure_logging
    from consumer_fleet.bootstrap.options import ClusterOptions
    from consumer_fleet.bootstrap.resolve import resolve_options
    from consumer_fleet.errors import ConfigurationError
    from consumer_fleet.kafka.clients import client_config

    options = resolve_options(request).options
    configure_logging(options.log_format, options.log_level)
    if needs_broker and not options.brokers:
        raise ConfigurationError(
            "no Kafka broker is named. Give it as --bootstrap-servers kafka:9092, in the "
            "environment as CONSUMER_BOOTSTRAP_SERVERS, or in the configuration file as "
            "bootstrap_servers."
        )
    return ClusterOptions(options, client_config(options.brokers, options.kafka_config))


set_of_option = click.option(
    "--set-of",
    "topic_sets",
    type=click.Choice(["ingest", "processed"]),
    multiple=True,
    help="All consumers of what Relay writes (ingest), or of what Sentry writes (processed).",
)


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
