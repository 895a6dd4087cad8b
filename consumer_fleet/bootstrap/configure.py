"""``configure``: the one entry to boot a process, parent or worker."""

from __future__ import annotations

import io
import os
import resource
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumer_fleet import metrics
from consumer_fleet.bootstrap.configure_sdk import configure_sdk
from consumer_fleet.bootstrap.logging_setup import configure_logging, print_framed
from consumer_fleet.bootstrap.option_checks import check_destinations, dangerous_modes
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.redaction import guard, learn_environment, learn_option
from consumer_fleet.bootstrap.services import builtin_services, load_plugins, setup_services
from consumer_fleet.bootstrap.sources import load_django
from consumer_fleet.bootstrap.validate_snuba import Role, validate_snuba
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.humanize import counted

if TYPE_CHECKING:
    from consumer_fleet.capture.transport import MultiplexingTransport


_FILES_TO_BOOT = 128
_FILES_PER_WORKER = 4


# More than 40 lines: the whole order of the boot, and its reasons, are read in one place.
def initialize_app(
    options: Options, role: Role, worker_number: int | None = None
) -> MultiplexingTransport | None:
    """Make this process ready, in this order; returns the transport, None without a DSN.

    1. Line-buffered output, when debugging.
    2. Logging, so that all further steps can say what they do.
    3. Warnings about dangerous choices, and the limit of open files (parent).
    4. Metrics.
    5. Plugins, before the services that they may add are set up.
    6. The options as a whole: every message needs a destination.
    7. Snuba: the options fit it (everywhere), and it is healthy (parent).
    8. The SDK and the transport.
    9. Services: validate (parent, unless skipped), then set up.

    Raises ConfigurationError, and then leaves no connection or thread behind: it may be retried.
    """
    is_parent = role == "parent"
    # 1.
    if options.log_level == "debug":
        _buffer_by_line()
    # 2.
    has_table = len(options.topic) > 1
    configure_logging(options.log_format, options.log_level, worker_number, has_table=has_table)
    # 3. Workers would only repeat it.
    if is_parent and (dangers := list(dangerous_modes(options))):
        print_framed("These options may lose data", dangers)
    if is_parent:
        check_open_files(options.worker_count)
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


def check_open_files(workers: int) -> None:
    """Raise this process's limit as far as it may, and refuse one that is too low to boot.

    Below it, each library fails in its own way, and librdkafka only says that no broker answers.
    Workers inherit the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_TO_BOOT + _FILES_PER_WORKER * workers
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ConfigurationError(
            f"this process may open {hard} files (ulimit -n), and {counted(workers, 'worker')} "
            f"need {needed}. Raise the limit to 1024 or more, or lower workers."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


_OWN_MODULES = r"^consumer_fleet(\.|$)"


@dataclass(frozen=True, slots=True)
class App:
    """A configured process. ``transport`` is None where no DSN is given."""

    options: Options
    transport: MultiplexingTransport | None


class Bootstrap:
    """Configures a process once. The process has one (``configure``); tests make their own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._app: App | None = None
        self._booting_thread: int | None = None

    def configure(
        self,
        options: Options,
        *,
        role: Role = "parent",
        worker_number: int | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> App:
        """Boot this process; a second call returns the first one's App. Blocks for live checks.

        1. Return at once where it is configured already.
        2. Learn the secrets that no output may repeat.
        3. Make this program's own warnings visible.
        4. Load Django, where DJANGO_SETTINGS_MODULE asks for it.
        5. ``initialize_app``.
        6. Remember the App, last: a configure that failed can be called again.

        ``options`` come from ``resolve_options`` in the parent, and from the parent in a worker,
        pickled: a file that changes in between changes nothing. Raises ConfigurationError, also
        where a plugin or Django's AppConfig.ready() calls it while it runs.
        """
        with self._booting():
            # 1.
            if self._app is not None:
                return self._app
            # 2.
            environ = os.environ if environ is None else environ
            _learn_secrets(options, environ)
            if role == "worker":
                guard(sys.stderr, may_be_lost=True)
            # 3.
            warnings.filterwarnings("default", category=Warning, module=_OWN_MODULES)
            # 4. In workers as well: a plugin or a codec may use the settings.
            load_django(environ)
            # 5.
            transport = initialize_app(options, role, worker_number)
            # 6.
            self._app = App(options, transport)
            return self._app

    @contextmanager
    def _booting(self) -> Iterator[None]:
        if self._booting_thread == threading.get_ident():
            raise ConfigurationError(
                "configure was called again by something that it loads: a plugin, or "
                "AppConfig.ready() in Django. A plugin gets the options from its registry; call "
                "configure before or after the boot."
            )
        with self._lock:
            self._booting_thread = threading.get_ident()
            try:
                yield
            finally:
                self._booting_thread = None


def _learn_secrets(options: Options, environ: Mapping[str, str]) -> None:
    """A worker has read none of the sources itself, and has its own standard error."""
    learn_environment(environ)
    for dsn in (options.upstream_dsn, options.saas_dsn):
        if dsn is not None:
            learn_option(f"://{dsn.public_key}:{dsn.secret_key or ''}@")
    learn_option(options.kafka_config)
    learn_option(options.snuba_url)


_process = Bootstrap()
configure = _process.configure
