"""Plugins: callables that other distributions offer as entry points, called once at boot.

A plugin takes a ``PluginRegistry`` and adds what it brings along::

    [project.entry-points."consumer_fleet.plugins"]
    my-plugin = "my_package.plugin:register"
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from typing import TYPE_CHECKING

import structlog

from fleet.errors import ConfigurationError

if TYPE_CHECKING:
    from fleet.bootstrap.options import Options
    from fleet.bootstrap.services import Service

ENTRY_POINT_GROUP = "consumer_fleet.plugins"

log = structlog.get_logger(__name__)


class PluginRegistry:
    """What a plugin gets: the options to read, and a place for what it adds."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.services: list[Service] = []

    def add_service(self, service: Service) -> None:
        """Have the service validated and set up with the built-in ones, after them."""
        self.services.append(service)


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
        except Exception as error:
            # Somebody else's code: whatever it raises must not stop a consumer by default.
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
