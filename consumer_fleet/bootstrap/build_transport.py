"""From options to the transport and its destinations. Opens no connection yet."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from consumer_fleet.capture.delivery_loop import DeliveryLoop
from consumer_fleet.capture.destination import Destination
from consumer_fleet.capture.http_posts import HttpPosts, PostOptions, Posts
from consumer_fleet.capture.transport import MultiplexingTransport

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import Options
# What makes the requests of the destination with this name.
OpenPostsOf: TypeAlias = Callable[[str, DeliveryLoop, PostOptions], Posts]

_BYTES_PER_MB = 1024 * 1024


def _open_http(_name: str, loop: DeliveryLoop, options: PostOptions) -> Posts:
    return HttpPosts(loop, options)


def build_transport(
    options: Options, open_posts: OpenPostsOf = _open_http
) -> MultiplexingTransport:
    """One delivery loop, a destination for each DSN, and the transport over them."""
    loop = DeliveryLoop()
    return MultiplexingTransport(
        _destination("upstream", options, loop, open_posts),
        _destination("saas", options, loop, open_posts),
        loop,
        upstream_metrics_enabled=options.sentry_sdk_upstream_metrics_enabled,
        saas_sample_rate=options.store_use_relay_dsn_sample_rate,
    )


def _destination(
    name: Literal["upstream", "saas"],
    options: Options,
    loop: DeliveryLoop,
    open_posts: OpenPostsOf,
) -> Destination | None:
    is_upstream = name == "upstream"
    dsn = options.upstream_dsn if is_upstream else options.saas_dsn
    delivery = options.upstream_delivery if is_upstream else options.saas_delivery
    if dsn is None:
        return None
    return Destination(
        name,
        dsn,
        loop=loop,
        required=delivery == "required",
        compression=options.upstream_compression if is_upstream else options.saas_compression,
        connections=options.connections,
        connect_timeout_s=options.connect_timeout_s,
        request_timeout_s=options.request_timeout_s,
        ca_file=str(options.ca_file) if options.ca_file is not None else None,
        best_effort_budget_bytes=options.best_effort_budget_mb * _BYTES_PER_MB,
        open_posts=partial(open_posts, name),
    )
