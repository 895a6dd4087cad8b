"""The largest response that a client takes, which a message must not outgrow.

librdkafka drops the connection at a response above ``receive.message.max.bytes``, over and over: a
message that is larger would silence its partition. So the limit is raised to what the topic allows
where its settings can be read, and to what was refused where they can't. A limit of the user's is
raised too: nothing that was delivered under it would have been larger.

librdkafka also unpacks a batch of zstd only up to about a third of this limit, and refuses it over
and over if it has more: then the limit is trebled.
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
# An attempt to unpack that has no room is followed by one with three times as much.
_GROWTH = 3
_ZSTD = "(codec 0x4)"
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
        """Whether a response, or a batch in it, was too large; ``where`` names the positions that
        are read. False as well for a batch that can't be unpacked with the largest limit.
        """
        wanted = self._wanted(error)
        if not where or wanted is None:
            return False
        config = with_room_for(self.config, wanted)
        if config != self.config and not self.is_outgrown:
            self.config, self.is_outgrown = config, True
            log.warning("receive_limit_raised", where=where, limit=config[_LIMIT], why=error.str())
        return self.is_outgrown or error.code() == KafkaError._BAD_MSG

    def _wanted(self, error: KafkaError) -> int | None:
        """The number of bytes to have room for; None if room is not what is missing."""
        if error.code() == KafkaError._BAD_COMPRESSION and _ZSTD in error.str():
            return _GROWTH * _number(self.config, _LIMIT, _DEFAULT)
        found = _REFUSED.search(error.str()) if error.code() == KafkaError._BAD_MSG else None
        return None if found is None else int(found[1])

    def take(self) -> dict[str, Any]:
        """The settings for a new client."""
        self.is_outgrown = False
        return self.config
