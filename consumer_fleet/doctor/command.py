"""``consumer doctor``: check everything that a consumer needs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

import click

from consumer_fleet.command_options import (
    RUN,
    complete_consumer,
    program_options,
    resolve_cluster,
    set_of_option,
    takes,
)
from consumer_fleet.errors import EXIT_FINDINGS, EXIT_OK

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import ClusterOptions
    from consumer_fleet.bootstrap.resolve import OptionsRequest
    from consumer_fleet.doctor.finding import Finding

_EPILOG = """
\b
Exit codes:
  0   everything is fine, or there are only warnings
  1   there is a problem: its line says what is wrong, and how to fix it
  2   the command line is wrong
  78  the configuration is wrong

\b
Examples:
  consumer doctor
  consumer doctor --topic events --config config.yml
  consumer doctor --topic ingest-events --bootstrap-servers kafka:9092 \\
      --upstream-dsn https://KEY@sentry.example.com/1 --workers 4
  consumer doctor --json
"""


@dataclass(frozen=True, slots=True)
class DoctorRequest:
    options: OptionsRequest
    topics: tuple[str, ...]
    topic_sets: tuple[str, ...]
    as_json: bool


@click.command("doctor", epilog=_EPILOG)
@click.option(
    "--topic",
    "topics",
    metavar="NAME",
    multiple=True,
    shell_complete=complete_consumer,
    help="A consumer to check; may be repeated. Default: the configured one, else all.",
)
@set_of_option
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@program_options(*RUN)
@takes(DoctorRequest)
def doctor_command(request: DoctorRequest) -> None:
    """Check everything that a consumer needs, and say how to fix what is wrong.

    Checks the configuration, Kafka, topics, groups, access, destinations, and this machine, as
    `consumer run` would use them with the same options. It takes up to 13 seconds and only reads:
    no topic is created, no group joined, no offset committed. Each destination receives two empty
    reports, which it stores nowhere.
    """
    from consumer_fleet.consumers.registry import in_sets
    from consumer_fleet.doctor.finding import report_lines

    options = request.options
    topics = [*request.topics, *in_sets(request.topic_sets)]
    if len(topics) == 1:
        # As in `consumer run`, physical_topic, group and dlq_topic are this consumer's.
        options = options.adding(topic=topics[0])
    cluster = resolve_cluster(options, needs_broker=False)
    _quieten(cluster.options.log_level)
    findings = examine(cluster, topics)
    if request.as_json:
        click.echo(json.dumps([finding.as_plain_data() for finding in findings], indent=2))
    else:
        for line in report_lines(findings, is_terminal=sys.stdout.isatty()):
            click.echo(line)
    has_problem = any(finding.status == "problem" for finding in findings)
    sys.exit(EXIT_FINDINGS if has_problem else EXIT_OK)


def _quieten(log_level: str) -> None:
    """Silence the log of failures: each is a finding."""
    import logging

    from consumer_fleet.kafka.clients import rdkafka_log

    if log_level != "debug":
        logging.getLogger().setLevel(logging.WARNING)
        rdkafka_log.setLevel(logging.CRITICAL)


TIMEOUT_S: Final = 12.0
# Requests within a check end before the check's own deadline.
_MARGIN_S: Final = 0.5


def examine(cluster: ClusterOptions, named: Iterable[str]) -> list[Finding]:
    """Check everything that a consumer of these options needs. Blocks for ``TIMEOUT_S`` at most.

    Raises ConfigurationError for a name that is not in the registry.
    """
    from consumer_fleet.bootstrap.destinations import capture_options
    from consumer_fleet.doctor.cluster_checks import examine_cluster
    from consumer_fleet.doctor.configuration_checks import (
        examine_configuration,
        examine_services,
        examine_snuba,
    )
    from consumer_fleet.doctor.destination_checks import examine_destination
    from consumer_fleet.doctor.finding import Check, run_checks, subjects_of
    from consumer_fleet.doctor.machine_checks import examine_machine
    from consumer_fleet.doctor.server_checks import examine_server

    options = cluster.options
    subjects = subjects_of(options, named)
    configuration = partial(examine_configuration, options, subjects)
    checks = [Check("configuration", "options", configuration)]
    if options.brokers:
        deadline = monotonic() + TIMEOUT_S - _MARGIN_S
        checks += [
            Check("kafka.server", server, partial(examine_server, server, cluster.kafka))
            for server in options.brokers.split(",")
        ]
        kafka = partial(examine_cluster, cluster, subjects, deadline)
        checks.append(Check("kafka.login", cluster.servers, kafka))
    checks += [
        Check("destination.reach", each.name, partial(examine_destination, each))
        for each in capture_options(options).destinations
    ]
    if options.snuba_url is not None:
        checks.append(Check("service", "snuba", partial(examine_snuba, options)))
    checks.append(Check("service", "services", partial(examine_services, options)))
    checks.append(Check("machine.temp", "this machine", partial(examine_machine, options)))
    return run_checks(checks, TIMEOUT_S)
