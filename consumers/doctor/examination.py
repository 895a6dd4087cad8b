"""The whole of it: which checks there are, and in which order their findings are shown."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from time import monotonic
from typing import Final

from consumers.commands.cluster_options import ClusterOptions
from consumers.doctor.checkup import Check, check_up
from consumers.doctor.cluster_checks import examine_cluster
from consumers.doctor.configuration_checks import examine_configuration
from consumers.doctor.destination_checks import Name, examine_destination
from consumers.doctor.finding import Finding
from consumers.doctor.machine_checks import examine_machine
from consumers.doctor.server_checks import examine_server
from consumers.doctor.service_checks import examine_services, examine_snuba
from consumers.doctor.subjects import subjects_of

TIMEOUT_S: Final = 12.0
# What is asked within a check ends before the check is given up.
_MARGIN_S: Final = 0.5
_DESTINATIONS: Final[tuple[Name, ...]] = ("upstream", "saas")


def examine(cluster: ClusterOptions, named: Iterable[str]) -> list[Finding]:
    """Everything that a consumer of these options needs. Blocks for ``TIMEOUT_S`` at most.

    Raises ConfigurationError for a consumer that the registry doesn't have.
    """
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
        Check("destination.reach", name, partial(examine_destination, name, options))
        for name in _DESTINATIONS
        if getattr(options, f"{name}_dsn") is not None
    ]
    if options.snuba_url is not None:
        checks.append(Check("service", "snuba", partial(examine_snuba, options)))
    checks.append(Check("service", "services", partial(examine_services, options)))
    checks.append(Check("machine.temp", "this machine", partial(examine_machine, options)))
    return check_up(checks, TIMEOUT_S)
