"""``consumer inspect``: a page of the events of a topic, a dead letter topic, a file or an SDK."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consumer_fleet.command_options import Connection, complete_consumer, connection_options

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import ClusterOptions
    from consumer_fleet.inspector.coverage import CoverageSettings
    from consumer_fleet.inspector.inspection import Opened, Wanted
    from consumer_fleet.inspector.receiver import Receiver
    from consumer_fleet.inspector.security import Access
_TOKEN_VARIABLE = "INSPECTOR_TOKEN"  # noqa: S105 - the name of a variable, not a token
_CODECOV_VARIABLE = "CODECOV_TOKEN"
_STOP_TIMEOUT_S = 10.0
_MEGABYTE = 1024 * 1024
_M_MMAP_THRESHOLD = -3  # of malloc.h
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_EPILOG = """
Without a source it receives: it prints a DSN to point an SDK or a consumer at.
Messages are read without joining a group; nothing is committed.

\b
Exit codes:
  0   stopped by one signal
  2   the command line is wrong
  65  the file is no recording
  69  no Kafka broker answers
  78  the topic, the port, the token or another setting is wrong

\b
Examples:
  consumer inspect --demo --open
  consumer inspect --topic ingest-events --bootstrap-servers kafka:9092
  consumer inspect --dlq ingest-events-dlq --from earliest
  consumer inspect monday.rec --coverage coverage.xml
  consumer inspect --port 8790 --store events.db
  consumer inspect --host 0.0.0.0 --port 8790 --token-file token \\
      --allow-host inspect.example.com
"""


@click.command("inspect", epilog=_EPILOG)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--topic",
    metavar="T",
    shell_complete=complete_consumer,
    help="Follow a topic; T is a consumer's name or a topic's.",
)
@click.option("--dlq", metavar="T", help="Follow a dead letter topic.")
@click.option("--demo", is_flag=True, help="Show synthetic events.")
@click.option(
    "--consumer",
    metavar="NAME",
    shell_complete=complete_consumer,
    help="Whose messages they are, if T does not say.",
)
@click.option("--from", "start", metavar="PLACE", help="earliest, -2h, -500…; default 1,000 back.")
@click.option("--host", metavar="H", default="127.0.0.1", help="Default 127.0.0.1.")
@click.option("--port", metavar="P", type=click.IntRange(0, 65535), default=0, help="Default: any.")
@click.option("--token-file", metavar="F", type=_FILE, help=f"Or {_TOKEN_VARIABLE} (environment).")
@click.option("--allow-host", metavar="NAME", multiple=True, help="A name that it is called by.")
@click.option("--open", "opens", is_flag=True, help="Open a browser.")
@click.option("--store", metavar="PATH", type=click.Path(path_type=Path), help="Keep entries here.")
@click.option("--keep", metavar="N", type=click.IntRange(1), default=10_000, help="Entries, 10000.")
@click.option("--keep-mb", metavar="M", type=click.IntRange(1), default=50, help="Megabytes, 50.")
@click.option("--coverage", metavar="FILE", multiple=True, type=_FILE, help="A coverage report.")
@click.option("--path-map", metavar="FROM=TO", multiple=True, help="FROM in events, TO in reports.")
@click.option("--codecov-repo", metavar="OWNER/REPO", help="Ask Codecov for coverage.")
@click.option("--codecov-service", metavar="S", default="github", help="Its Git host: github, …")
@click.option("--codecov-branch", metavar="B", help="For files of a commit that it has not.")
@click.option("--codecov-url", metavar="URL", help="A Codecov of your own.")
@click.option("--codecov-token-file", metavar="F", type=_FILE, help=f"Or {_CODECOV_VARIABLE}.")
@connection_options
def inspect_command(connection: Connection, **given: Any) -> None:
    """Show events on a page: of a topic, of dead letters, of a recording, or received here.

    It is live until a signal stops it.
    """
    from consumer_fleet.inspector.security import Access

    wanted = _wanted(given)
    token = _secret(given["token_file"], _TOKEN_VARIABLE)
    access = Access(given["host"], token, given["allow_host"])
    coverage = _coverage(given)
    cluster = connection.resolve(
        required=wanted.topic is not None or wanted.dead_letter_topic is not None
    )
    _run(wanted, cluster, access, coverage, given)


def _wanted(given: dict[str, Any]) -> Wanted:
    from consumer_fleet.inspector.inspection import Wanted

    sources = [
        name
        for name, value in (
            ("FILE", given["file"]),
            ("--topic", given["topic"]),
            ("--dlq", given["dlq"]),
            ("--demo", given["demo"] or None),
        )
        if value is not None
    ]
    if len(sources) > 1:
        raise click.UsageError(f"{sources[0]} and {sources[1]} exclude one another")
    source = sources[0] if sources else "a receiver"
    if given["start"] is not None and source not in ("--topic", "--dlq"):
        raise click.UsageError(f"--from is for --topic and --dlq, not for {source}")
    if given["consumer"] is not None and source not in ("--topic", "--dlq", "FILE"):
        raise click.UsageError(f"--consumer is for messages, not for {source}")
    return Wanted(
        given["topic"],
        given["dlq"],
        given["file"],
        given["demo"],
        given["consumer"],
        given["start"],
    )


def _run(
    wanted: Wanted,
    cluster: ClusterOptions,
    access: Access,
    coverage: CoverageSettings,
    given: dict[str, Any],
) -> None:
    """Blocks until a signal. What is opened first is closed last."""
    from contextlib import ExitStack

    from consumer_fleet.inspector.feeder import Feeder
    from consumer_fleet.inspector.inspection import Opener
    from consumer_fleet.inspector.receiver import Receiver, View
    from consumer_fleet.inspector.store import Store
    from consumer_fleet.run.shutdown import Shutdown

    _give_memory_back()
    path, max_bytes = given["store"], given["keep_mb"] * _MEGABYTE
    shutdown = Shutdown(_STOP_TIMEOUT_S)
    with shutdown.signals(), ExitStack() as stack:
        store = Store(path, max_rows=given["keep"], max_bytes=max_bytes)
        stack.callback(store.close)
        opened = Opener(cluster.options, cluster.kafka, store, stack).open(wanted)
        view = View(opened.source, coverage=coverage, lookup=opened.lookup)
        receiver = Receiver(store, access=access, view=view)
        receiver.start(given["port"])
        stack.callback(receiver.stop)
        if opened.feed is not None:
            feeder = Feeder(store, opened.feed, opened.source, skip_known=path is not None)
            feeder.start()
            stack.callback(feeder.stop)
        click.echo(_greeting(opened, receiver, access))
        if given["opens"]:
            click.launch(receiver.url)
        while not shutdown.requested:
            shutdown.wait(3600.0)


def _give_memory_back() -> None:
    """Let the memory of each large envelope go when it is freed.

    glibc would learn from the first ones to keep it, in each thread some tens of megabytes.
    """
    import ctypes
    from contextlib import suppress

    with suppress(OSError, AttributeError):  # other C libraries don't have it
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MEGABYTE)


def _greeting(opened: Opened, receiver: Receiver, access: Access) -> str:
    kind, name = opened.source.kind, opened.source.name
    receives = kind == "receiver"
    lines = ["Inspector of what is sent to it" if receives else f"Inspector of {kind} {name!r}"]
    lines.append(f"  Page  {receiver.url}")
    if access.token is not None:
        lines.append(f"        opened once as {receiver.url}?token=TOKEN, with your token")
    if receives:
        lines.append(f"  DSN   {receiver.dsn}")
    return "\n".join(lines)


def _secret(path: Path | None, variable: str) -> str | None:
    """From the file, else from the environment; never from the command line, which all can read."""
    from consumer_fleet.errors import ConfigurationError

    if path is None:
        return os.environ.get(variable, "").strip() or None
    try:
        secret = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} can't be read as a token: {error}") from error
    if not secret:
        raise ConfigurationError(f"{path} is empty: it must hold the token")
    return secret


def _coverage(given: dict[str, Any]) -> CoverageSettings:
    from consumer_fleet.errors import ConfigurationError
    from consumer_fleet.inspector.coverage import CodecovSettings, CoverageSettings, PathMapping
    from consumer_fleet.inspector.demo import REPORT

    codecov = None
    if given["codecov_repo"] is not None:
        token = _secret(given["codecov_token_file"], _CODECOV_VARIABLE)
        if token is None:
            raise ConfigurationError(
                f"--codecov-repo needs a token: --codecov-token-file F, or {_CODECOV_VARIABLE} in "
                "the environment"
            )
        url = {"base_url": given["codecov_url"]} if given["codecov_url"] is not None else {}
        codecov = CodecovSettings(
            token,
            given["codecov_repo"],
            given["codecov_service"],
            branch=given["codecov_branch"],
            **url,
        )
    reports = given["coverage"] or ((REPORT,) if given["demo"] else ())
    mappings = tuple(PathMapping.parse(text) for text in given["path_map"])
    return CoverageSettings(tuple(reports), mappings, codecov)
