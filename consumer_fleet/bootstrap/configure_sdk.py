"""The transport that delivers, and the SDK that reports this program's own errors through it."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from types import ModuleType
from typing import TYPE_CHECKING, Any

from consumer_fleet.bootstrap.destinations import capture_options
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.redaction import redact_all
from consumer_fleet.bootstrap.validate_snuba import Role

if TYPE_CHECKING:
    from sentry_sdk.integrations import Integration
    from sentry_sdk.types import Event, Hint

    from consumer_fleet.capture.transport import MultiplexingTransport
# Settings of ``sentry_sdk.init`` that do not depend on the options. Copied deeply before use.
SDK_SETTINGS: Mapping[str, Any] = {
    # Each integration costs start-up time; ``_integrations`` lists those that are worth it.
    "default_integrations": False,
    "auto_enabling_integrations": False,
    "auto_session_tracking": False,
    "send_client_reports": True,
    # A frame's variables hold other people's payloads, and DSNs.
    "include_local_variables": False,
    "max_breadcrumbs": 50,
    # Its sidecar would get a copy of everything, bypassing the transport.
    "spotlight": False,
    "ignore_errors": [KeyboardInterrupt],
}


def configure_sdk(
    options: Options,
    role: Role,
    worker_number: int | None = None,
    settings: Mapping[str, Any] = SDK_SETTINGS,
) -> MultiplexingTransport | None:
    """Build the transport and hand it to the SDK; None where no DSN is given. Own errors go where
    the messages of unmapped projects go; without a DSN for these, they go nowhere.

    In the parent the transport delivers from a thread of its own; a worker drives it itself.
    Without ``self_reporting`` the transport is built all the same, but the SDK is left alone.
    """
    capture = capture_options(options)
    if not capture.destinations:
        return None
    dsn = options.upstream_dsn or options.saas_dsn
    # libcurl and the SDK are slow to import, and commands that deliver nothing need neither.
    from consumer_fleet.capture.transport import build_transport  # noqa: PLC0415 - see above

    transport = build_transport(capture)
    if role == "parent":
        transport.start_thread()
    if options.self_reporting and dsn is not None:
        _init_sdk(
            transport,
            {**settings, "dsn": str(dsn), "traces_sample_rate": options.traces_sample_rate or None},
            make_before_send(role, worker_number),
            _integrations(role),
        )
    return transport


def _init_sdk(
    transport: MultiplexingTransport,
    settings: Mapping[str, Any],
    before_send: Callable[[Event, Hint], Event | None],
    integrations: list[Integration],
) -> None:
    import sentry_sdk  # noqa: PLC0415 - slow to import
    from sentry_sdk.utils import Dsn  # noqa: PLC0415 - likewise

    # The SDK sets it only for transports that it makes itself; traces carry its public key.
    transport.parsed_dsn = Dsn(settings["dsn"])
    with _without_spotlight():
        sentry_sdk.init(
            **copy.deepcopy(dict(settings)),
            transport=transport,
            release=f"consumer-fleet@{metadata.version('consumer-fleet')}",
            before_send=before_send,
            integrations=integrations,
        )


@contextmanager
def _without_spotlight() -> Iterator[None]:
    """Keep ``sentry_sdk.init`` from importing its Spotlight module, which is switched off anyway.

    The module imports Django where that is installed, used or not: a third of a worker's start.
    """
    name = "sentry_sdk.spotlight"
    if name in sys.modules:
        yield
        return
    stand_in = ModuleType(name)
    stand_in.__dict__["setup_spotlight"] = lambda _options: None
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]


def _integrations(role: Role) -> list[Integration]:
    # Imported here: each of them imports a part of the SDK.
    from sentry_sdk.integrations.atexit import AtexitIntegration  # noqa: PLC0415 - see above
    from sentry_sdk.integrations.dedupe import DedupeIntegration  # noqa: PLC0415 - see above
    from sentry_sdk.integrations.excepthook import ExcepthookIntegration  # noqa: PLC0415 - see above
    from sentry_sdk.integrations.logging import LoggingIntegration  # noqa: PLC0415 - see above
    from sentry_sdk.integrations.threading import ThreadingIntegration  # noqa: PLC0415 - see above

    integrations: list[Integration] = [
        # Breadcrumbs only: a log line about a failed delivery must not be one more delivery.
        LoggingIntegration(level=logging.INFO, event_level=None),
        ThreadingIntegration(propagate_scope=True),
        ExcepthookIntegration(),
        DedupeIntegration(),
    ]
    if role == "parent":
        # Spawned workers end without running exit handlers.
        integrations.append(AtexitIntegration(callback=lambda _pending, _timeout: None))
    return integrations


def make_before_send(
    role: Role, worker_number: int | None
) -> Callable[[Event, Hint], Event | None]:
    """A ``before_send`` that says which process of the fleet an error comes from."""
    tags: dict[str, str] = {"role": role}
    if worker_number is not None:
        tags["worker"] = str(worker_number)

    def before_send(event: Event, _hint: Hint) -> Event | None:
        event["tags"] = {**tags, **(event.get("tags") or {})}
        # An error's text may repeat a secret, like a line of the log.
        redacted: Event = redact_all(event)
        return redacted

    return before_send
