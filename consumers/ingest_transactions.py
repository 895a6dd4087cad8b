"""The ``ingest-transactions`` topic: the transactions that Relay writes for Sentry."""

from __future__ import annotations

from consumer_fleet.consumers.ingest_events import IngestEvents


class IngestTransactions(IngestEvents):
    """Messages as in ``ingest-events``, whose payload is a transaction."""

    examples = schema = "ingest-transactions"
