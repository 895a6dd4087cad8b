"""The ``ingest-feedback-events`` topic: the user feedback that Relay writes for Sentry."""

from __future__ import annotations

from consumer_fleet.consumers.ingest_events import IngestEvents


class IngestFeedbackEvents(IngestEvents):
    """Messages as in ``ingest-events``, whose payload is a feedback."""

    examples = schema = "ingest-feedback-events"
