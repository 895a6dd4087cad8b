"""Checks of the options as a whole: are they enough to deliver, and which may lose data?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.errors import ConfigurationError


def delivery_mode(options: Options) -> Literal["embedded", "real"]:
    """``embedded`` (a demonstration) where neither brokers nor a DSN are given, else ``real``.

    Raises ConfigurationError where one is given without the other, or where messages would reach
    no destination. Kept out of the class because ``consumer config`` shows unfinished options too.
    """
    if not options.brokers and not _has_dsn(options):
        return "embedded"
    if not options.brokers:
        raise ConfigurationError(
            "a DSN is given but no Kafka broker. " + _how_to_give("bootstrap_servers", "kafka:9092")
        )
    check_destinations(options)
    return "real"


def check_destinations(options: Options) -> None:
    """Check that every message reaches a destination, wherever it comes from.

    With neither brokers nor a DSN, the demonstration provides both. Raises ConfigurationError.
    """
    if not _has_dsn(options):
        if options.brokers:
            raise ConfigurationError(
                "Kafka brokers are given but no DSN to deliver to. "
                + _how_to_give("upstream_dsn", "https://PUBLIC_KEY@HOST/PROJECT_ID")
            )
        return
    if options.upstream_dsn is None and options.store_use_relay_dsn_sample_rate < 1:
        raise ConfigurationError(
            "saas_dsn is the only destination and gets only the share "
            f"{options.store_use_relay_dsn_sample_rate:g} of the messages: the others would be "
            "lost. " + _how_to_give("store_use_relay_dsn_sample_rate", "1") + " Or give an "
            "upstream_dsn."
        )


def _has_dsn(options: Options) -> bool:
    return options.upstream_dsn is not None or options.saas_dsn is not None


def _how_to_give(name: str, example: str) -> str:
    option = name.replace("_", "-")
    return (
        f"Give it as --{option} {example}, in the environment as CONSUMER_{name.upper()}, "
        f"or in the configuration file as {name}."
    )


def dangerous_modes(options: Options) -> Iterator[str]:
    """One line for each choice that may lose messages or hide that they are lost."""
    if options.no_dlq:
        yield "no_dlq: a rejected message stops the consumer; no topic keeps it."
    for name in ("upstream", "saas"):
        if (
            getattr(options, f"{name}_dsn") is not None
            and getattr(options, f"{name}_delivery") == "best-effort"
        ):
            yield f"{name}_delivery best-effort: messages that {name} takes too late are dropped."
    if options.saas_dsn is not None and options.store_use_relay_dsn_sample_rate == 0:
        yield "saas_dsn is given, but store_use_relay_dsn_sample_rate 0 sends nothing there."
    if options.auto_offset_reset == "latest":
        yield "auto_offset_reset latest: if an offset is lost, older messages are skipped."
    if options.skip_service_validation:
        yield "skip_service_validation: an unreachable service is noticed only when it is used."
    for name in ("upstream_dsn", "saas_dsn"):
        dsn = getattr(options, name)
        if dsn is not None and dsn.scheme == "http" and not _is_loopback(dsn.host):
            yield f"{name} uses http: events and the key travel unencrypted."


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "[::1]") or host.startswith("127.")
