"""The ``transactions`` topic: the transactions that Sentry has stored, for Snuba.

They have the form of the ``events`` topic.
"""

from __future__ import annotations

from consumer_fleet.consumers.events import StoredEvents


class StoredTransactions(StoredEvents):
    """Messages as in ``events``, whose row is a transaction."""

    examples = schema = "transactions"
