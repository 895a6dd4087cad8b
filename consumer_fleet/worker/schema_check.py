"""Compares a share of the messages with their topic's schema. Imported only where asked for."""

from __future__ import annotations

from time import monotonic
from typing import Any, Final

import structlog
from sentry_kafka_schemas import SchemaNotFound, get_codec
from sentry_kafka_schemas.codecs import Codec, ValidationError

from consumer_fleet.codec import Decode, Decoded, RawMessage
from consumer_fleet.metrics import incr

log = structlog.get_logger(__name__)

# Validation takes several times as long as all other work on a message.
_CHECK_EVERY: Final = 100
_WARNING_INTERVAL_S: Final = 60.0
_SHOWN_CHARS: Final = 200


class SchemaCheck:
    """Compare every 100th message with the schema of its topic; never reject for it.

    Relay's own messages do not all have their schema's form, so a violation is only counted and,
    once a minute, logged.
    """

    def __init__(self, decode: Decode, topic: str) -> None:
        self._decode = decode
        self._topic = topic
        self._left = 1
        self._violations = 0
        self._warning_due = 0.0
        self._schema: Codec[Any] | None = None
        try:
            self._schema = get_codec(topic)
        except SchemaNotFound:
            log.warning("schema_unknown", schema=topic)

    def __call__(self, message: RawMessage) -> Decoded:
        self._left -= 1
        if self._left == 0:
            self._left = _CHECK_EVERY
            if self._schema is not None and message.value:
                self._check(message, message.value)
        return self._decode(message)

    def _check(self, message: RawMessage, value: bytes) -> None:
        violation = self._violation(value)
        incr("schema.checked", tags={"result": "valid" if violation is None else "invalid"})
        if violation is None:
            return
        self._violations += 1
        now = monotonic()
        if now >= self._warning_due:
            self._warning_due = now + _WARNING_INTERVAL_S
            log.warning(
                "schema_violated",
                topic=message.topic,
                partition=message.partition,
                offset=message.offset,
                schema=self._topic,
                violation=violation,
                violations=self._violations,
            )

    def _violation(self, value: bytes) -> str | None:
        """The rule that the value breaks, without the value; None if it breaks none."""
        assert self._schema is not None
        try:
            self._schema.decode(value, validate=True)
        except ValidationError as error:
            rule = getattr(error.__cause__, "message", None) or type(error.__cause__).__name__
            return str(rule)[:_SHOWN_CHARS]
        except Exception as error:
            # Whatever a parser raises for bytes that are not the topic's format.
            return f"not readable: {type(error).__name__}"
        return None
