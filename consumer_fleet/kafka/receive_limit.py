"""The largest response that a client takes, which a message must not outgrow.

librdkafka drops the connection at a response above ``receive.message.max.bytes``, over and over: a
message that is larger would silence its partition. So the limit is raised to what the topic allows
where its settings can be read, and to what was refused where they can't. A limit of the user's is
raised too: nothing that was delivered under it would have been larger.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import structlog
from confluent_kafka import KafkaError

log = structlog.get_logger(__name__)

_LIMIT = "receive.message.max.bytes"
_DEFAULT = 100_000_000
_LARGEST = 2**31 - 1
_OVERHEAD = 1024 * 1024
# From a server that is not Kafka's, it arrives before the connection is up.
_REFUSED = re.compile(rf"response size (\d+) .*{re.escape(_LIMIT)}.* in state UP\b")


def with_room_for(base: Mapping[str, Any], message_bytes: int | None) -> dict[str, Any]:
    """Settings of a consumer that takes messages of that size."""
    wanted = (message_bytes or 0) + _OVERHEAD
    if wanted <= _number(base, _LIMIT, _DEFAULT):
        return dict(base)
    # librdkafka requires this limit to be above fetch.max.bytes.
    wanted = max(wanted, _number(base, "fetch.max.bytes", 0) + _OVERHEAD)
    return {**base, _LIMIT: min(wanted, _LARGEST)}


def _number(config: Mapping[str, Any], name: str, default: int) -> int:
    try:
        return int(config.get(name, default))
    except ValueError:
        return default  # librdkafka refuses it, or reads it in another base


class ReceiveLimit:
    """The settings of one client: ``config`` grows with the responses that were too large for it.

    Replace the client where ``is_outgrown``, by one with the ``config`` of that moment.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)
        self.is_outgrown = False

    def note(self, error: KafkaError, where: str) -> bool:
        """Whether a response was too large; ``where`` names the positions that are read."""
        found = _REFUSED.search(error.str()) if error.code() == KafkaError._BAD_MSG else None
        if not where or found is None:
            return False
        config = with_room_for(self.config, int(found[1]))
        if config != self.config:
            self.config, self.is_outgrown = config, True
            log.warning("receive_limit_raised", where=where, limit=config[_LIMIT], why=error.str())
        return True

    def take(self) -> dict[str, Any]:
        """The settings for a new client."""
        self.is_outgrown = False
        return self.config
