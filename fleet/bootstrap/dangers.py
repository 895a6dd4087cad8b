"""Choices that are allowed, and that somebody may have made without meaning to lose data."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.bootstrap.options import Options


def dangerous_modes(options: Options) -> Iterator[str]:
    """One line for each choice that may lose messages or hide that they are lost."""
    if options.no_dlq:
        yield "no_dlq: a rejected message stops the consumer; nothing keeps the message aside."
    for name in ("upstream", "saas"):
        if (
            getattr(options, f"{name}_dsn") is not None
            and getattr(options, f"{name}_delivery") == "best-effort"
        ):
            yield f"{name}_delivery best-effort: messages that {name} does not take in time drop."
    if options.saas_dsn is not None and options.store_use_relay_dsn_sample_rate == 0:
        yield "saas_dsn is given, but store_use_relay_dsn_sample_rate 0 sends nothing there."
    if options.auto_offset_reset == "latest":
        yield "auto_offset_reset latest: where offsets are lost, older messages are skipped."
    if options.skip_service_validation:
        yield "skip_service_validation: a service that does not answer is found out only in use."
    for name in ("upstream_dsn", "saas_dsn"):
        dsn = getattr(options, name)
        if dsn is not None and dsn.scheme == "http" and not _is_loopback(dsn.host):
            yield f"{name} uses http: events and the key travel unencrypted."


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "[::1]") or host.startswith("127.")
