"""The command line of ``consumer inspect``; ``inspection`` runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consumer_fleet.command_options import CONNECTION, complete_consumer, program_options

if TYPE_CHECKING:
    from consumer_fleet.inspector.inspection import InspectRequest
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_EPILOG = """
Without a source it receives envelopes: it prints a DSN for an SDK or a consumer.
It reads topics without joining a group and commits nothing.

\b
Exit codes:
  0   stopped by a signal
  2   invalid command line
  65  the file is not a recording
  69  no Kafka broker answers
  78  invalid topic, port, token or other setting

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
    help="Follow a topic, named by its consumer or by its own name.",
)
@click.option("--dlq", metavar="T", help="Follow a dead-letter topic.")
@click.option("--demo", is_flag=True, help="Show synthetic events.")
@click.option(
    "--consumer",
    metavar="NAME",
    shell_complete=complete_consumer,
    help="Consumer whose message format to use.",
)
@click.option(
    "--from", "start", metavar="POSITION", help="Start: earliest, -2h, -500…; default latest 1,000."
)
@click.option(
    "--host", metavar="H", default="127.0.0.1", help="Address to listen on; default 127.0.0.1."
)
@click.option(
    "--port", metavar="P", type=click.IntRange(0, 65535), default=0, help="Port; default any."
)
@click.option(
    "--token-file",
    metavar="F",
    type=_FILE,
    help="File with the token; or INSPECTOR_TOKEN (environment).",
)
@click.option("--allow-host", metavar="NAME", multiple=True, help="Additional allowed Host name.")
@click.option(
    "--allow-origin",
    metavar="ORIGIN",
    multiple=True,
    help="Accept envelopes from browser SDKs on this origin.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
@click.option(
    "--store", metavar="PATH", type=click.Path(path_type=Path), help="Store entries in this file."
)
@click.option(
    "--keep",
    metavar="N",
    type=click.IntRange(1),
    default=10_000,
    help="Entries to keep; default 10000.",
)
@click.option(
    "--keep-mb",
    metavar="M",
    type=click.IntRange(1),
    default=50,
    help="Megabytes to keep; default 50.",
)
@click.option(
    "--coverage", metavar="FILE", multiple=True, type=_FILE, help="Coverage report to show."
)
@click.option(
    "--path-map", metavar="FROM=TO", multiple=True, help="Map path FROM in events to TO in reports."
)
@click.option("--codecov-repo", metavar="OWNER/REPO", help="Get coverage from Codecov.")
@click.option(
    "--codecov-service",
    metavar="S",
    default="github",
    help="Git host of the repository; default github.",
)
@click.option("--codecov-branch", metavar="B", help="Fallback branch for unknown commits.")
@click.option("--codecov-url", metavar="URL", help="Address of a self-hosted Codecov.")
@click.option(
    "--codecov-token-file", metavar="F", type=_FILE, help="File with the token; or CODECOV_TOKEN."
)
@click.option(
    "--source-root",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Checkout with the source lines that frames lack.",
)
@click.option(
    "--editor-link",
    metavar="TEMPLATE",
    help="Link frames to an editor, for example vscode://file{path}:{line}.",
)
@program_options(*CONNECTION)
def inspect_command(**values: Any) -> None:
    """Show events on a web page: of a topic, of dead letters, of a recording, or received here.

    The page is live until a signal stops the command.
    """
    from consumer_fleet.inspector.inspection import InspectRequest, inspect

    request = InspectRequest(**values)
    _check_sources(request)
    inspect(request)


def _check_sources(request: InspectRequest) -> None:
    if len(request.sources) > 1:
        first, second = request.sources[:2]
        raise click.UsageError(f"{first} and {second} can't be combined: give one source")
    source = request.sources[0] if request.sources else "received envelopes"
    if request.start is not None and source not in ("--topic", "--dlq"):
        raise click.UsageError(f"--from requires --topic or --dlq; it is invalid for {source}")
    if request.consumer is not None and source not in ("--topic", "--dlq", "FILE"):
        raise click.UsageError(
            f"--consumer requires --topic, --dlq or FILE; it is invalid for {source}"
        )
