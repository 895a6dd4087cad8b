"""The options together, and the services that they name."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import Final

from consumer_fleet.bootstrap.option_checks import dangerous_modes, delivery_mode, likely_circles
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.sentry_conf import sentry_host
from consumer_fleet.bootstrap.services import Service, builtin_services, load_plugins
from consumer_fleet.bootstrap.validate_snuba import (
    HEALTH_PATH,
    check_health,
    refuse_reserved_group,
    validate_snuba,
)
from consumer_fleet.consumers.registry import skipped_consumers
from consumer_fleet.doctor.finding import Finding, Subject, ok, problem, warning
from consumer_fleet.errors import ConfigurationError, ServiceError
from consumer_fleet.run.consumer_run import refuse_long_drain, refuse_own_topic
from consumer_fleet.targets import delivered_twice

_EMBEDDED: Final = (
    "nothing is configured: `consumer run` is a demonstration with an embedded broker and receiver"
)


def is_embedded(options: Options) -> bool:
    """True if nothing at all is configured."""
    try:
        return delivery_mode(options) == "embedded"
    except ConfigurationError:
        return False


def examine_configuration(options: Options, subjects: tuple[Subject, ...]) -> Iterator[Finding]:
    """All findings about the options, each of which is valid by itself, and about consumers."""
    yield from _skipped_consumers()
    if is_embedded(options):
        yield ok("configuration", "options", _EMBEDDED)
        return
    found = list(wholeness(options))
    for subject in subjects:
        found += names(subject)
    if not any(finding.status == "problem" for finding in found):
        yield ok("configuration", "options", "valid")
    yield from found
    yield from dangers(options)
    for line in likely_circles(options, sentry_host(os.environ)):
        fix = "Give the DSN of another Sentry, unless that one does not write these topics."
        yield _as_warning(line, fix)
    if twice := delivered_twice(each.name for each in subjects if each.is_wanted):
        fix = "Run the consumers of one set: consumer list names the set of each."
        yield warning("configuration", "topics", twice, fix)


def _skipped_consumers() -> Iterator[Finding]:
    """Consumers of other distributions that can't be used."""
    for each in skipped_consumers():
        yield warning(
            "configuration", each.name, each.problem, "Fix that distribution, or uninstall it."
        )


def wholeness(options: Options) -> Iterator[Finding]:
    """The checks of ``consumer run`` before it connects to anything."""
    for check in (delivery_mode, _fits_snuba, refuse_long_drain):
        try:
            check(options)
        except ConfigurationError as error:
            yield _as_problem("options", error)


def _fits_snuba(options: Options) -> None:
    # As a worker does it, neither printing nor asking Snuba: that has a check of its own. So has
    # the group, which is checked whatever else is wrong.
    validate_snuba(options.model_copy(update={"group": None}), "worker")


def names(subject: Subject) -> Iterator[Finding]:
    """A group or a dead letter topic that belongs to another program."""
    try:
        refuse_reserved_group(subject.group)
    except ConfigurationError as error:
        yield _as_problem("group", error)
    try:
        refuse_own_topic(subject.topic, subject.dead_letter_topic)
    except ConfigurationError as error:
        yield _as_problem("dlq_topic", error)


def dangers(options: Options) -> Iterator[Finding]:
    """Choices that are allowed, but lose data or hide its loss."""
    for line in dangerous_modes(options):
        yield _as_warning(line, "Change the option, unless this is intended.")


def _as_warning(line: str, fix: str) -> Finding:
    """Of a line that begins with its option."""
    subject, _, seen = line.partition(": ")
    if not seen:
        subject, _, seen = line.partition(" ")
    return warning("configuration", subject, seen.removesuffix("."), fix)


def _as_problem(subject: str, error: ConfigurationError) -> Finding:
    seen, _, fix = str(error).partition(". ")
    return problem("configuration", subject, seen, fix or "Change the option.")


_FIXES: Final = {
    "healthcheck_file": "Name a file in a folder that exists and that this user may write to.",
    "ca_file": "Name a PEM file of certificate authorities that this user may read.",
    "statsd": "Correct statsd_host or statsd_socket_path; without either no metrics are sent.",
}
# How long the kernel may take to learn that nothing listens on a port of this machine.
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
    """The validation that a consumer runs at its start, and would fail with."""
    try:
        service.validate()
    except Exception as error:
        # A plugin's service may raise anything.
        seen = str(error) if isinstance(error, ServiceError) else f"{type(error).__name__}: {error}"
        seen = seen.removeprefix(f"service {service.name!r}: ")
        fix = _FIXES.get(service.name, "Fix it, or remove the plugin that needs it.")
        return problem("service", service.name, seen, fix)
    return ok("service", service.name, "usable")


def examine_statsd(options: Options) -> Finding:
    """Check for a listening agent, as far as UDP tells. An empty packet measures nothing."""
    path = options.statsd_socket_path
    family = socket.AF_INET if path is None else socket.AF_UNIX
    address: tuple[object, ...] | str = path or ""
    if path is None:
        found = socket.getaddrinfo(options.statsd_host, options.statsd_port, type=socket.SOCK_DGRAM)
        family, address = found[0][0], found[0][4]
    address_text = path or f"{options.statsd_host}:{options.statsd_port}"
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
            f"statsd {address_text}",
            f"{why}: metrics are lost",
            "Start the DogStatsD agent, or correct statsd_host, statsd_port or statsd_socket_path.",
        )
    known = "accepts packets" if path else "resolves; whether an agent listens is unknown"
    return ok("service", f"statsd {address_text}", known)


def _wait_for_refusal(probe: socket.socket) -> None:
    """Raises ConnectionRefusedError if the host says so; a remote one rarely does."""
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
        fix = "Check snuba_url and Snuba's log; skip_service_validation starts without it."
        if options.skip_service_validation:
            yield warning("service", "snuba", seen, fix)
        else:
            yield problem("service", "snuba", seen, fix)
    else:
        yield ok("service", "snuba", f"{HEALTH_PATH} reports healthy")
