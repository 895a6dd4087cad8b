"""From the options to the section that the transport and its destinations take."""

from __future__ import annotations

from collections.abc import Mapping

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.options import (
    ROLES,
    CaptureOptions,
    DestinationOptions,
    ProjectOptions,
    Role,
)


def capture_options(options: Options) -> CaptureOptions:
    """One destination for each role and DSN, whichever projects share it.

    Its name is its role, and of a DSN that only projects have, the first of these projects.
    """
    default = ProjectOptions(options.upstream_dsn, options.saas_dsn)
    projects = dict(sorted(options.projects.items()))
    names = _names(default, projects)

    def destination(role: Role, project: ProjectOptions) -> DestinationOptions | None:
        dsn = project.dsn(role) or default.dsn(role)
        if dsn is None:
            return None
        return DestinationOptions(
            names[role, dsn],
            dsn,
            required=getattr(options, f"{role}_delivery") == "required",
            compression=getattr(options, f"{role}_compression"),
            connections=options.connections,
            connect_timeout_s=options.connect_timeout_s,
            request_timeout_s=options.request_timeout_s,
            ca_file=options.ca_file,
            client_certificate=options.client_certificate,
            best_effort_budget_bytes=options.best_effort_budget_mb * 1024 * 1024,
            holds=options.hold_at_most_s > 0,
            shares=bool(projects),
            drop_items=_dropped_items(options, role, project),
        )

    return CaptureOptions(
        destination("upstream", default),
        destination("saas", default),
        saas_sample_rate=options.store_use_relay_dsn_sample_rate,
        projects={
            number: (destination("upstream", project), destination("saas", project))
            for number, project in projects.items()
        },
    )


def _names(
    default: ProjectOptions, projects: Mapping[int, ProjectOptions]
) -> dict[tuple[Role, Dsn | None], str]:
    names: dict[tuple[Role, Dsn | None], str] = {}
    for role in ROLES:
        names[role, default.dsn(role)] = role
        for number, project in projects.items():
            names.setdefault((role, project.dsn(role)), f"{role}:{number}")
    return names


def _dropped_items(options: Options, role: Role, project: ProjectOptions) -> frozenset[str]:
    dropped = project.drop_items(role)
    if dropped is None:
        dropped = frozenset[str](getattr(options, f"{role}_drop_items"))
    if role == "upstream" and not options.sentry_sdk_upstream_metrics_enabled:
        dropped |= {"statsd"}
    return dropped
