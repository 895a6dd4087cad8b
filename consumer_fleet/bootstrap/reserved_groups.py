"""Consumer groups that belong to Sentry and Snuba themselves.

A consumer that joins one of them takes partitions away from the consumer it belongs to, and moves
that consumer's offsets: Sentry then loses what this program has read.
"""

from __future__ import annotations

from consumer_fleet.errors import ConfigurationError

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


def is_reserved_group(group: str) -> bool:
    """Sentry or Snuba consumes as ``group``."""
    return group in RESERVED_GROUPS or group.startswith(RESERVED_PREFIXES)


def refuse_reserved_group(group: str) -> None:
    """Raise ConfigurationError where Sentry or Snuba consumes as ``group``."""
    if is_reserved_group(group):
        raise ConfigurationError(
            f"group {group!r} is one that Sentry or Snuba consumes with: this consumer would take "
            "partitions away from it and move its offsets. Choose a group of your own, for example "
            f"'fleet-{group}'."
        )
