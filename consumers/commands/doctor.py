"""``consumer doctor``: is everything there that a consumer needs?"""

from __future__ import annotations

import json
import sys

import click

from consumers.commands.cluster_options import Connection, connection_options
from consumers.commands.completion import complete_consumer
from fleet.errors import EXIT_FINDINGS, EXIT_OK

_EPILOG = """
\b
Exit codes:
  0   all is well, or there are warnings only
  1   there is a problem: its line says what, and how to mend it
  2   the command line is wrong
  78  the configuration is wrong

\b
Examples:
  consumer doctor
  consumer doctor --topic events --config config.yml
  consumer doctor --topic ingest-events --bootstrap-servers kafka:9092
  consumer doctor --json
"""


@click.command("doctor", epilog=_EPILOG)
@click.option(
    "--topic",
    "topics",
    metavar="NAME",
    multiple=True,
    shell_complete=complete_consumer,
    help="The consumer to check for; may be repeated. Default: the configured one, else all.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@connection_options
def doctor_command(topics: tuple[str, ...], as_json: bool, connection: Connection) -> None:
    """Check everything that a consumer needs, and say how to mend what is wrong.

    The configuration, Kafka, topics, groups, access, destinations, and this machine, with the
    options that `consumer run` would have. It takes up to 13 seconds and only reads: no topic is
    made, no group joined, no offset committed. Each destination is sent one empty report, twice.
    """
    from consumers.doctor.examination import examine
    from consumers.doctor.finding import report_lines

    if len(topics) == 1:
        # As `consumer run` has it: physical_topic, group and dlq_topic are this consumer's.
        connection = connection.adding(topic=topics[0])
    cluster = connection.resolve(required=False)
    _quieten(cluster.options.log_level)
    findings = examine(cluster, topics)
    if as_json:
        click.echo(json.dumps([finding.as_plain_data() for finding in findings], indent=2))
    else:
        for line in report_lines(findings, is_terminal=sys.stdout.isatty()):
            click.echo(line)
    has_problem = any(finding.status == "problem" for finding in findings)
    sys.exit(EXIT_FINDINGS if has_problem else EXIT_OK)


def _quieten(log_level: str) -> None:
    """What would be logged of each failure is said by the findings, once."""
    import logging

    from fleet.kafka.client_log import rdkafka_log

    if log_level != "debug":
        logging.getLogger().setLevel(logging.WARNING)
        rdkafka_log.setLevel(logging.CRITICAL)
