"""What the consumer leans on besides Kafka and the destinations."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Final

from consumers.doctor.finding import Finding, ok, problem, warning
from fleet.bootstrap.options import Options
from fleet.bootstrap.plugins import load_plugins
from fleet.bootstrap.services import Service, builtin_services
from fleet.bootstrap.validate_snuba import HEALTH_PATH, check_health
from fleet.errors import ServiceError

_FIXES: Final = {
    "healthcheck_file": "Name a file in a folder that exists and that this user may write to.",
    "ca_file": "Name a PEM file of certificate authorities that this user may read.",
    "statsd": "Correct statsd_host or statsd_socket_path; without either no metrics are sent.",
}
# How long the kernel may take to hear that nobody listens on a port of this machine.
_REFUSAL_TIMEOUT_S: Final = 0.5


def examine_services(options: Options) -> Iterator[Finding]:
    """The built-in services that the options use, then those of the plugins."""
    for service in builtin_services(options):
        finding = examine_service(service)
        if service.name == "statsd" and finding.status == "ok":
            finding = examine_statsd(options)
        yield finding
    for service in load_plugins(options):
        yield examine_service(service)


def examine_service(service: Service) -> Finding:
    """What the start of a consumer finds, which it would end with."""
    try:
        service.validate()
    except Exception as error:
        # A plugin's service may raise anything.
        seen = str(error) if isinstance(error, ServiceError) else f"{type(error).__name__}: {error}"
        seen = seen.removeprefix(f"service {service.name!r}: ")
        fix = _FIXES.get(service.name, "Mend it, or remove the plugin that needs it.")
        return problem("service", service.name, seen, fix)
    return ok("service", service.name, "usable")


def examine_statsd(options: Options) -> Finding:
    """Whether an agent listens, as far as that can be known. An empty packet measures nothing."""
    path = options.statsd_socket_path
    family = socket.AF_INET if path is None else socket.AF_UNIX
    address: tuple[object, ...] | str = path or ""
    if path is None:
        found = socket.getaddrinfo(options.statsd_host, options.statsd_port, type=socket.SOCK_DGRAM)
        family, address = found[0][0], found[0][4]
    place = path or f"{options.statsd_host}:{options.statsd_port}"
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.settimeout(_REFUSAL_TIMEOUT_S)
            probe.connect(address)
            probe.send(b"")
            if path is None:
                _wait_for_refusal(probe)
    except OSError as error:
        why = "nothing listens there" if error.errno == errno.ECONNREFUSED else error.strerror
        return warning(
            "service",
            f"statsd {place}",
            f"{why}: metrics are lost",
            "Start the DogStatsD agent, or correct statsd_host, statsd_port or statsd_socket_path.",
        )
    known = "takes packets" if path is not None else "resolves; whether an agent listens is unknown"
    return ok("service", f"statsd {place}", known)


def _wait_for_refusal(probe: socket.socket) -> None:
    """Raises ConnectionRefusedError where the host says so; a distant one seldom does."""
    try:
        probe.recv(1)
    except TimeoutError:
        return


def examine_snuba(options: Options) -> Iterator[Finding]:
    """Only where ``snuba_url`` is given. Blocks for ``snuba_timeout_s`` at most."""
    url = options.snuba_url
    if url is None:
        return
    try:
        check_health(url, options)
    except ServiceError as error:
        seen = str(error).removeprefix("service 'snuba': ")
        fix = "Check snuba_url and Snuba's own log; skip_service_validation starts without it."
        if options.skip_service_validation:
            yield warning("service", "snuba", seen, fix)
        else:
            yield problem("service", "snuba", seen, fix)
    else:
        yield ok("service", "snuba", f"{HEALTH_PATH} says that it is healthy")
