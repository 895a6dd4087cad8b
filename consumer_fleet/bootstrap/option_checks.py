"""Checks of the options as a whole: are they enough to deliver, and which may lose data?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from consumer_fleet.bootstrap.destinations import capture_options
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.capture.options import ROLES
from consumer_fleet.errors import ConfigurationError


def delivery_mode(options: Options) -> Literal["embedded", "real"]:
    """``embedded`` (a demonstration) where neither brokers nor a DSN are given, else ``real``.

    Raises ConfigurationError where one is given without the other, or where messages would reach
    no destination. Kept out of the class because ``consumer config`` shows unfinished options too.
    """
    if not options.brokers and not has_dsn(options):
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
    if not has_dsn(options):
        if options.brokers:
            raise ConfigurationError(
                "Kafka brokers are given but no DSN to deliver to. "
                + _how_to_give("upstream_dsn", "https://PUBLIC_KEY@HOST/PROJECT_ID")
            )
        return
    capture = capture_options(options)
    pairs = {f"projects.{number}": pair for number, pair in capture.projects.items()}
    if options.unmapped_projects == "default":
        pairs[""] = (capture.upstream, capture.saas)
    for name, (upstream, saas) in pairs.items():
        if upstream is None and saas is None:
            raise ConfigurationError(
                f"{name or 'the messages of unmapped projects'}: there is no DSN for it. "
                + _how_to_give("upstream_dsn", "https://PUBLIC_KEY@HOST/PROJECT_ID")
                + (f" Or give {name}.upstream." if name else _OR_UNMAPPED)
            )
        if upstream is None and options.store_use_relay_dsn_sample_rate < 1:
            raise ConfigurationError(
                f"{f'{name}.saas' if name else 'saas_dsn'} is the only destination and gets only "
                f"the share {options.store_use_relay_dsn_sample_rate:g} of the messages: the "
                "others would be lost. "
                + _how_to_give("store_use_relay_dsn_sample_rate", "1")
                + f" Or give {f'{name}.upstream' if name else 'an upstream_dsn'}."
            )


_OR_UNMAPPED: Final = " Or set unmapped_projects to skip or dead-letter."


def has_dsn(options: Options) -> bool:
    """Whether any destination is given."""
    return bool(options.upstream_dsn or options.saas_dsn or options.projects)


def saas_is_given(options: Options) -> bool:
    """Whether there is a second destination, for whichever messages."""
    return options.saas_dsn is not None or any(each.saas for each in options.projects.values())


def _how_to_give(name: str, example: str) -> str:
    option = name.replace("_", "-")
    return (
        f"Give it as --{option} {example}, in the environment as CONSUMER_{name.upper()}, "
        f"or in the configuration file as {name}."
    )


def only_topic(options: Options) -> str | None:
    """The consumer that is named, if it is one."""
    return options.topic[0] if len(options.topic) == 1 else None


def check_topics(options: Options) -> None:
    """Raise ConfigurationError for an option of one topic where several are named."""
    given = [n for n in ("group", "physical_topic", "dlq_topic") if getattr(options, n) is not None]
    if len(options.topic) > 1 and given:
        raise ConfigurationError(
            f"{' and '.join(given)}: for one topic, and several are named. Leave it out: each "
            "topic has its own group and dead-letter topic, and snuba_topic_map has the names on "
            "the brokers."
        )


def dangerous_modes(options: Options) -> Iterator[str]:
    """One line for each choice that may lose messages or hide that they are lost."""
    if options.no_dlq:
        yield "no_dlq: a rejected message stops the consumer; no topic keeps it."
    destinations = capture_options(options).destinations
    for role in ROLES:
        if any(each.role == role and not each.required for each in destinations):
            yield f"{role}_delivery best-effort: messages that {role} takes too late are dropped."
    saas = [each.option for each in destinations if each.role == "saas"]
    if saas and options.store_use_relay_dsn_sample_rate == 0:
        yield f"{saas[0]} is given, but store_use_relay_dsn_sample_rate 0 sends nothing there."
    if options.unmapped_projects == "skip":
        yield "unmapped_projects skip: messages of projects that are not in projects are left out."
    if options.auto_offset_reset == "latest":
        yield "auto_offset_reset latest: if an offset is lost, older messages are skipped."
    if options.skip_service_validation:
        yield "skip_service_validation: an unreachable service is noticed only when it is used."
    for each in destinations:
        if each.dsn.scheme == "http" and not _is_loopback(each.dsn.host):
            yield f"{each.option} uses http: events and the key travel unencrypted."


def likely_circles(options: Options, sentry_host: str | None) -> Iterator[str]:
    """One line for each destination that may be the Sentry whose topics are read.

    ``sentry_host`` is the host of the Sentry at SENTRY_CONF, if there is one.
    """
    brokers = {server.rpartition(":")[0] for server in options.brokers.split(",")}
    known = {host: "of a Kafka broker" for host in brokers if not _is_loopback(host)}
    if sentry_host is not None:
        known[sentry_host] = "of the Sentry at SENTRY_CONF"
    for each in capture_options(options).destinations:
        if each.dsn.host in known:
            yield (
                f"{each.option}: its host {each.dsn.host} is that {known[each.dsn.host]}. If the "
                "Sentry there writes the topics, its own messages come back, and are skipped."
            )


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "[::1]") or host.startswith("127.")
