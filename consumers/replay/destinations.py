"""Where a replay delivers to: a receiver of its own, this machine, another one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from ipaddress import ip_address

import click

from fleet.bootstrap.options import Options


def receiver_if_needed(stack: ExitStack, options: Options) -> Mapping[str, object] | None:
    """Starts a receiver in this process where no DSN is configured, and says where it is. Gives
    the options that name it.
    """
    if options.upstream_dsn is not None or options.saas_dsn is not None:
        return None
    from inspector.receiver import Receiver  # noqa: PLC0415 - real replays need no web server

    receiver = stack.enter_context(Receiver())
    click.echo(
        "This is a demonstration: no DSN is configured (--upstream-dsn).\n"
        f"A receiver in this process takes the envelopes and shows them at {receiver.url}\n",
        err=True,
    )
    return {"upstream_dsn": str(receiver.dsn)}


def remote_destinations(options: Options) -> list[str]:
    """The destinations that are on another machine, as ``upstream sentry.example.com``."""
    dsns = (("upstream", options.upstream_dsn), ("saas", options.saas_dsn))
    return [
        f"{name} {dsn.host}"
        for name, dsn in dsns
        if dsn is not None and not _is_loopback(dsn.host.strip("[]"))
    ]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
