"""Options that are each fine but not together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleet.bootstrap.options import Options


@dataclass(frozen=True, slots=True)
class Conflict:
    """``fields`` are the options at odds, and ``text`` says why; it never holds a value."""

    fields: tuple[str, ...]
    text: str


def conflicts(options: Options) -> Iterator[Conflict]:
    """Every conflict among the options, in no particular order."""
    if options.no_dlq and options.dlq_topic is not None:
        yield Conflict(("no_dlq", "dlq_topic"), "no_dlq and dlq_topic exclude each other")
    if options.statsd_host is not None and options.statsd_socket_path is not None:
        yield Conflict(
            ("statsd_host", "statsd_socket_path"),
            "statsd_host and statsd_socket_path exclude each other",
        )
    if options.connect_timeout_s > options.request_timeout_s:
        yield Conflict(
            ("connect_timeout_s", "request_timeout_s"),
            "connect_timeout_s is a part of request_timeout_s and can't be longer",
        )
    listed = options.kafka_config.get("bootstrap.servers")
    if options.bootstrap_servers and listed not in (None, ",".join(options.bootstrap_servers)):
        yield Conflict(
            ("bootstrap_servers", "kafka_config"),
            "bootstrap_servers and kafka_config's bootstrap.servers name different brokers",
        )
