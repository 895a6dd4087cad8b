"""``configure``: the one entry to boot a process, parent or worker."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.bootstrap.config_file import find_config
from fleet.bootstrap.django_settings import load_django
from fleet.bootstrap.initialize_app import initialize_app
from fleet.bootstrap.options import Options
from fleet.bootstrap.sources import Snapshot, resolve_options
from fleet.bootstrap.validate_snuba import Role

if TYPE_CHECKING:
    from fleet.capture.transport import MultiplexingTransport

__all__ = ["App", "Bootstrap", "Snapshot", "configure"]

_OWN_MODULES = r"^(consumers|strategies|fleet|inspector)(\.|$)"


@dataclass(frozen=True, slots=True)
class App:
    """A configured process. ``transport`` is None where no DSN is given."""

    options: Options
    origins: dict[str, str]
    transport: MultiplexingTransport | None
    snapshot: Snapshot
    role: Role


class Bootstrap:
    """Configures a process once. The process has one (``configure``); tests make their own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._app: App | None = None

    def configure(
        self,
        command_line: Mapping[str, object] | None = None,
        config: Path | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        extra_layer: Mapping[str, object] | None = None,
        snapshot: Snapshot | None = None,
        role: Role = "parent",
        worker_number: int | None = None,
    ) -> App:
        """Boot this process; a second call returns the first one's App. Blocks for live checks.

        1. Return at once where it is configured already.
        2. Make this program's own warnings visible.
        3. Find the configuration file, unless the parent's snapshot is given (workers).
        4. Load Django, where DJANGO_SETTINGS_MODULE asks for it.
        5. Resolve the options.
        6. ``initialize_app``.
        7. Remember the App, last: a configure that failed can be called again.

        The parameters are those of ``resolve_options``. Raises ConfigurationError.
        """
        environ = os.environ if environ is None else environ
        with self._lock:
            # 1.
            if self._app is not None:
                return self._app
            # 2.
            warnings.filterwarnings("default", category=Warning, module=_OWN_MODULES)
            # 3.
            if snapshot is None:
                config = find_config(config, environ)
            # 4. In workers as well: a plugin or a codec may use the settings.
            load_django(environ)
            # 5.
            resolved = resolve_options(command_line or {}, config, environ, extra_layer, snapshot)
            # 6.
            transport = initialize_app(resolved.options, role, worker_number)
            # 7.
            self._app = App(resolved.options, resolved.origins, transport, resolved.snapshot, role)
            return self._app


_process = Bootstrap()
configure = _process.configure
