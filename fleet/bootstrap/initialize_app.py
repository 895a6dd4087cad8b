"""The boot of one process, parent or worker, after its options are known."""

from __future__ import annotations

import io
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fleet import metrics
from fleet.bootstrap.configure_sdk import configure_sdk
from fleet.bootstrap.dangers import dangerous_modes
from fleet.bootstrap.frame import print_framed
from fleet.bootstrap.logging_setup import configure_logging
from fleet.bootstrap.options import Options, check_destinations
from fleet.bootstrap.plugins import load_plugins
from fleet.bootstrap.services import builtin_services, setup_services
from fleet.bootstrap.validate_snuba import Role, validate_snuba

if TYPE_CHECKING:
    from fleet.capture.transport import MultiplexingTransport


def initialize_app(
    options: Options, role: Role, worker_number: int | None = None
) -> MultiplexingTransport | None:
    """Make this process ready, in this order; returns the transport, None without a DSN.

    1. Line-buffered output, when debugging.
    2. Logging, so that all further steps can say what they do.
    3. Warnings about dangerous choices (parent).
    4. Metrics.
    5. Plugins, before the services that they may add are set up.
    6. The options as a whole: is there something to deliver to?
    7. Snuba: do the options fit it (everywhere), is it healthy (parent)?
    8. The SDK and the transport.
    9. Services: validate (parent, unless skipped), then set up.

    Raises ConfigurationError, and then leaves no connection or thread behind: it may be retried.
    """
    is_parent = role == "parent"
    # 1.
    if options.log_level == "debug":
        _buffer_by_line()
    # 2.
    configure_logging(options.log_format, options.log_level, worker_number)
    # 3. Workers would only repeat it.
    if is_parent and (dangers := list(dangerous_modes(options))):
        print_framed("These options may lose data", dangers)
    # 4.
    metrics.configure_metrics(
        host=options.statsd_host,
        port=options.statsd_port,
        socket_path=options.statsd_socket_path,
        prefix=options.metrics_prefix,
        global_tags=options.metrics_tags,
    )
    # 5.
    plugin_services = load_plugins(options)
    # 6.
    check_destinations(options)
    # 7.
    validate_snuba(options, role)
    with ExitStack() as undo:
        # 8.
        transport = configure_sdk(options, role, worker_number)
        if transport is not None:
            undo.callback(transport.kill)
        # 9.
        setup_services(
            [*builtin_services(options), *plugin_services],
            validate=is_parent and not options.skip_service_validation,
        )
        undo.pop_all()
    return transport


def _buffer_by_line() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
