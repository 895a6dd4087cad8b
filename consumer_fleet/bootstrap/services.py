"""The services used beside Kafka and the destinations: validated at start, then set up.

A plugin adds its own with ``PluginRegistry.add_service``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import ClassVar, Protocol

import structlog

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.errors import ConfigurationError, ServiceError
from consumer_fleet.metrics import recorder
from consumer_fleet.metrics.definitions import Kind, Metric


class Service(Protocol):
    """A service. Errors call it by its ``name``."""

    @property
    def name(self) -> str: ...

    def validate(self) -> None:
        """Check that the service can be used. Called in the parent only; may block for seconds.

        Any exception stops the start.
        """

    def setup(self) -> None:
        """Make the service ready. Called in the parent and in every worker, validated or not."""


@dataclass(frozen=True, slots=True)
class StatsdService:
    """The DogStatsD agent. UDP does not show whether it listens, so only the address is checked."""

    host: str | None
    port: int
    socket_path: str | None
    name: ClassVar[str] = "statsd"

    def validate(self) -> None:
        if self.socket_path is not None and not Path(self.socket_path).is_socket():
            raise ServiceError(self.name, f"there is no socket at {self.socket_path}")
        if self.host is not None:
            try:
                socket.getaddrinfo(self.host, self.port, type=socket.SOCK_DGRAM)
            except (OSError, UnicodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "not a valid host name"
                raise ServiceError(
                    self.name, f"statsd_host {self.host} does not resolve: {why}"
                ) from error

    def setup(self) -> None:
        """Do nothing: the metrics' own thread connects at the first measurement."""


@dataclass(frozen=True, slots=True)
class HealthcheckFileService:
    """The file that is touched while the consumer makes progress."""

    path: Path
    name: ClassVar[str] = "healthcheck_file"

    def validate(self) -> None:
        folder = self.path.parent
        if not folder.is_dir():
            raise ServiceError(self.name, f"the directory {folder} does not exist")
        if not os.access(folder, os.W_OK):
            raise ServiceError(self.name, f"the directory {folder} is not writable")

    def setup(self) -> None:
        """Do nothing: before there is progress, the file would mislead a probe."""


@dataclass(frozen=True, slots=True)
class CertificatesService:
    """The certificate authorities that destinations are checked against."""

    path: Path
    name: ClassVar[str] = "ca_file"

    def validate(self) -> None:
        import ssl  # noqa: PLC0415 - slow to import, and rarely needed

        try:
            ssl.create_default_context(cafile=str(self.path))
        except ssl.SSLError as error:
            raise ServiceError(self.name, f"{self.path} has no PEM certificate") from error
        except OSError as error:
            raise ServiceError(self.name, f"can't read {self.path}: {error.strerror}") from error

    def setup(self) -> None:
        """Do nothing: each connection reads the file."""


def builtin_services(options: Options) -> list[Service]:
    """The services that these options use."""
    services: list[Service] = []
    if options.statsd_host is not None or options.statsd_socket_path is not None:
        services.append(
            StatsdService(options.statsd_host, options.statsd_port, options.statsd_socket_path)
        )
    if options.healthcheck_file is not None:
        services.append(HealthcheckFileService(options.healthcheck_file))
    if options.ca_file is not None:
        services.append(CertificatesService(options.ca_file))
    return services


def setup_services(services: Iterable[Service], *, validate: bool) -> None:
    """Call ``validate()`` if asked for, then ``setup()``, service by service.

    Raises ServiceError, which names the service; the services after it are left alone.
    """
    for service in services:
        try:
            if validate:
                service.validate()
            service.setup()
        except ServiceError:
            raise
        except (Exception, SystemExit) as error:
            # A plugin's service may raise anything, or exit; the user needs to know which one did.
            raise ServiceError(service.name, f"{type(error).__name__}: {error}") from error


ENTRY_POINT_GROUP = "consumer_fleet.plugins"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PluginRegistry:
    """The object a plugin is called with: the options, `add_service` and `declare_metric`."""

    options: Options
    services: list[Service] = field(default_factory=list)

    def add_service(self, service: Service) -> None:
        """Have the service validated and set up with the built-in ones, after them."""
        self.services.append(service)

    def declare_metric(
        self, name: str, kind: Kind, unit: str, meaning: str, tags: tuple[str, ...] = ()
    ) -> None:
        """Declare a metric of the plugin's own, for ``consumer_fleet.metrics.incr`` and the others.

        ``tags`` are the keys that calls may give. Raises ValueError where the name is taken.
        """
        recorder.declare(Metric(name, kind, unit, meaning, tuple(tags)))


def load_plugins(
    options: Options, entry_points: Iterable[metadata.EntryPoint] | None = None
) -> list[Service]:
    """Call every installed plugin, by name; returns the services that they added.

    A plugin that fails is logged and adds nothing; with ``plugins_strict`` it raises
    ConfigurationError.
    """
    if entry_points is None:
        entry_points = metadata.entry_points(group=ENTRY_POINT_GROUP)
    services: list[Service] = []
    for entry_point in sorted(entry_points, key=lambda point: point.name):
        registry = PluginRegistry(options)
        try:
            entry_point.load()(registry)
        except (Exception, SystemExit) as error:
            # A plugin may raise anything, or exit, and must not stop a consumer by default.
            if options.plugins_strict:
                raise ConfigurationError(
                    f"plugin {entry_point.name!r} ({entry_point.value}) failed: "
                    f"{type(error).__name__}: {error}"
                ) from error
            log.warning(
                "plugin_skipped", plugin=entry_point.name, target=entry_point.value, exc_info=True
            )
        else:
            services += registry.services
            log.debug("plugin_loaded", plugin=entry_point.name, target=entry_point.value)
    return services
