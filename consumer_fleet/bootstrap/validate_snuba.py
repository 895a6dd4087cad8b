"""Check that this consumer fits the Sentry and Snuba beside it.

Sentry's four backends are named by a short name or by the class path of Sentry's own settings, in
any case: ``snuba`` (search, tagstore, tsdb, eventstream), ``redissnuba`` (tsdb), ``kafka``
(eventstream). A service delegator is written ``delegator:NAME,NAME`` and fits if all its parts do;
Sentry's own class of that name fits where Sentry takes it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from consumer_fleet.bootstrap.logging_setup import print_framed
from consumer_fleet.bootstrap.option_checks import only_topic
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.errors import ConfigurationError, ServiceError
from consumer_fleet.printable import without_userinfo

Role: TypeAlias = Literal["parent", "worker"]

# Sentry's ``features.requires_snuba`` (getsentry/sentry, src/sentry/features/__init__.py).
FEATURES_THAT_NEED_SNUBA = (
    "organizations:discover",
    "organizations:global-views",
    "organizations:incidents",
    "organizations:minute-resolution-sessions",
    "organizations:performance-view",
)
# Sentry itself takes it for Snuba's in these two settings, whatever its backends are
# (getsentry/sentry, src/sentry/runner/initializer.py).
_SENTRYS_DELEGATOR = "sentry.utils.services.servicedelegator"
SNUBA_BACKENDS = {
    "search_backend": (
        "snuba",
        "sentry.search.snuba.eventsdatasetsnubasearchbackend",
        _SENTRYS_DELEGATOR,
    ),
    "tagstore_backend": ("snuba", "sentry.tagstore.snuba.snubatagstorage"),
    "tsdb_backend": (
        "snuba",
        "redissnuba",
        "sentry.tsdb.redissnuba.redissnubatsdb",
        _SENTRYS_DELEGATOR,
    ),
}
SNUBA_EVENTSTREAMS = (
    "kafka",
    "snuba",
    "sentry.eventstream.kafka.kafkaeventstream",
    "sentry.eventstream.snuba.snubaeventstream",
)
_DELEGATOR = "delegator:"
# Snuba's own check of its databases; /health_envoy only says whether it wants new traffic
# (getsentry/snuba, snuba/web/views.py).
HEALTH_PATH = "/health"

# Consumer groups of Sentry and Snuba themselves. A consumer that joins one takes partitions away
# from its owner and moves its offsets: Sentry then loses what this program has read.
# Every group of this family is Snuba's by convention, including those of one storage each.
RESERVED_PREFIXES = ("snuba-",)

RESERVED_GROUPS = (
    # Sentry's consumers, as self-hosted's docker-compose.yml starts them
    # (getsentry/self-hosted), now or in earlier releases.
    "billing-metrics-consumer",
    "generic-metrics-consumer",
    "ingest-consumer",
    "ingest-feedback",
    "ingest-monitors",
    "ingest-occurrences",
    "ingest-profiles",
    "ingest-replay-recordings",
    "metrics-consumer",
    "monitors-clock-tasks",
    "monitors-clock-tick",
    "post-process-forwarder",
    "process-segments",
    "process-spans",
    "query-subscription-consumer",
    "subscription-results-eap-items",
    "uptime-results",
    # Sentry's development server (getsentry/sentry, src/sentry/runner/commands/devserver.py).
    "sentry-consumer",
    # Snuba's consumers whose group lacks the prefix: self-hosted's docker-compose.yml, and
    # getsentry/snuba, snuba/cli/devserver.py.
    "accepted_outcomes",
    "eap_items_group",
    "eap_spans_group",
    "errors_group",
    "generic_events_group",
    "outcomes_billing_group",
    "outcomes_group",
    "sessions-group",
    "spans_group",
    "transactions_group",
)


def validate_snuba(options: Options, role: Role) -> None:
    """Raise ConfigurationError where the options don't fit Sentry's or Snuba's.

    1. The backends: see ``_check_backends``.
    2. The group is not one of Sentry's or Snuba's.
    3. Snuba's topic map and this consumer mean the same physical topic.
    4. In the parent, unless ``skip_service_validation``: Snuba says that it is healthy.

    Steps 1 to 3 look at the options alone. Only the parent prints; workers would repeat it.
    """
    _check_backends(options, loud=role == "parent")
    if options.group is not None:
        refuse_reserved_group(options.group)
    _check_topic_map(options)
    if role == "parent" and options.snuba_url is not None and not options.skip_service_validation:
        check_health(options.snuba_url, options)


def _check_backends(options: Options, *, loud: bool) -> None:
    """The four cases, where B = search, tagstore and tsdb are Snuba's, E = the eventstream is.

    ===========================================  ===========================
    B and E                                      fine
    not E, and features that need Snuba are on   error, listing the features
    not E otherwise, even if not B               error, listing the settings
    E and not B                                  warning
    ===========================================  ===========================
    """
    backends_fit = all(_fits(name, getattr(options, name)) for name in SNUBA_BACKENDS)
    eventstream_fits = options.eventstream_backend in SNUBA_EVENTSTREAMS
    if eventstream_fits:
        if not backends_fit and loud:
            print_framed("Sentry's backends do not all read from Snuba", _settings(options))
        return
    features = needing_snuba(options.features)
    if features:
        title = "These features need Snuba"
        lines = [*features, "", f"eventstream_backend is {options.eventstream_backend}"]
        error = "can't continue without Snuba: " + ", ".join(features) + " need it. "
    else:
        title = "The eventstream does not feed Snuba"
        lines = _settings(options)
        error = f"eventstream_backend {options.eventstream_backend!r} does not feed Snuba. "
    if loud:
        print_framed(title, lines)
    raise ConfigurationError(error + "Set eventstream_backend to kafka or snuba, as Sentry's is.")


def needing_snuba(features: tuple[str, ...]) -> list[str]:
    """Those of the features that need Snuba; the ``organizations:`` may be left out."""
    on = {name if ":" in name else f"organizations:{name}" for name in features}
    return [name for name in FEATURES_THAT_NEED_SNUBA if name in on]


def _fits(option: str, backend: str) -> bool:
    if not backend.startswith(_DELEGATOR):
        return backend in SNUBA_BACKENDS[option]
    parts = [part.strip() for part in backend.removeprefix(_DELEGATOR).split(",")]
    return all(part in SNUBA_BACKENDS[option] for part in parts)


def _settings(options: Options) -> list[str]:
    lines = [
        f"{name}: {getattr(options, name)}"
        + ("" if _fits(name, getattr(options, name)) else "   <- not Snuba's")
        for name in SNUBA_BACKENDS
    ]
    stream = options.eventstream_backend
    mark = "" if stream in SNUBA_EVENTSTREAMS else "   <- not Snuba's"
    return [*lines, f"eventstream_backend: {stream}{mark}"]


def _check_topic_map(options: Options) -> None:
    topic = only_topic(options)
    if topic is None or topic not in options.snuba_topic_map:
        return
    theirs, ours = options.snuba_topic_map[topic], options.physical_topic or topic
    if theirs != ours:
        raise ConfigurationError(
            f"topic {topic!r} is {theirs!r} to Snuba (snuba_topic_map) but {ours!r} here "
            "(physical_topic): they would not see the same messages. Make both the same."
        )


def check_health(url: str, options: Options) -> None:
    """Ask Snuba. Blocks for ``snuba_timeout_s`` at most, however slowly the answer trickles in."""
    import pycurl  # noqa: PLC0415 - only the parent gets here

    from consumer_fleet.capture.dialing import authorities  # noqa: PLC0415 - likewise

    handle = pycurl.Curl()
    handle.setopt(pycurl.URL, url + HEALTH_PATH)
    handle.setopt(pycurl.TIMEOUT_MS, max(1, int(options.snuba_timeout_s * 1000)))
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(pycurl.FOLLOWLOCATION, 0)
    # Snuba is a neighbour: a proxy for the outside world can't reach it.
    handle.setopt(pycurl.NOPROXY, "*")
    handle.setopt(pycurl.CAINFO, authorities(options.ca_file))
    handle.setopt(pycurl.WRITEFUNCTION, len)  # the status says it all; the body is let go
    shown = without_userinfo(url + HEALTH_PATH)
    try:
        handle.perform()
        status = handle.getinfo(pycurl.RESPONSE_CODE)
    except pycurl.error as error:
        raise ServiceError("snuba", f"no answer from {shown}: {error.args[1]}") from error
    finally:
        handle.close()
    if status != 200:
        raise ServiceError("snuba", f"{shown} answered {status}: it is not healthy")


def is_reserved_group(group: str) -> bool:
    """Sentry or Snuba consumes as ``group``."""
    return group in RESERVED_GROUPS or group.startswith(RESERVED_PREFIXES)


def refuse_reserved_group(group: str) -> None:
    """Raise ConfigurationError where Sentry or Snuba consumes as ``group``."""
    if is_reserved_group(group):
        raise ConfigurationError(
            f"group {group!r} belongs to Sentry or Snuba: this consumer would take its partitions "
            "and move its offsets. Choose a group of your own, for example "
            f"'fleet-{group}'."
        )
