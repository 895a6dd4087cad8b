"""The ``ingest-monitors`` topic: check-ins of cron monitors.

Neither a check-in nor its item carries a time: an upstream takes it for one of now. A late one
would raise a false alarm or hide a real one, so those older than ``check_in_max_age_s`` are
skipped.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any, Final

import msgpack
import orjson

from consumer_fleet.capture.envelope import Envelope, build, make_item
from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.consumers.format import (
    FormatOptions,
    JsonObject,
    MsgpackFormat,
    brief,
    bytes_of,
)
from consumer_fleet.errors import RejectedMessage

_MAX_AGE_S: Final = 600.0


class IngestMonitors(MsgpackFormat):
    """Maps with a ``message_type``; a check-in's payload keeps its bytes.

    ``max_age_s`` is counted from the time that the broker gave the message; 0 is no limit.
    """

    item_type = "check_in"
    examples = schema = "ingest-monitors"

    def __init__(
        self, max_age_s: float = _MAX_AGE_S, clock: Callable[[], float] = time.time
    ) -> None:
        self._max_age_s = max_age_s
        self._clock = clock

    def with_options(self, options: FormatOptions) -> IngestMonitors:
        return IngestMonitors(options.check_in_max_age_s, self._clock)

    def to_envelope(self, fields: JsonObject, message: RawMessage) -> Envelope | Skipped:
        kind = fields.get("message_type")
        if kind == "clock_pulse":
            return Skipped("clock_pulse")
        if kind != "check_in":
            raise RejectedMessage("unknown_type", f"the message's type is {brief(kind)}")
        if self._is_too_old(fields, message):
            return Skipped("too_old")
        # No event id: a check-in is known by the id in its payload.
        return build(None, (make_item(self.item_type, bytes_of(fields, "payload")),))

    def _is_too_old(self, fields: JsonObject, message: RawMessage) -> bool:
        if not self._max_age_s:
            return False
        if message.timestamp_ms is not None:
            sent_at: object = message.timestamp_ms / 1000
        else:
            sent_at = fields.get("start_time")
        return isinstance(sent_at, int | float) and self._clock() - sent_at > self._max_age_s

    def fresh_example(self, example: Any) -> bytes:
        fields = {**example, "start_time": int(time.time())}
        if "payload" in fields:
            check_in = {**orjson.loads(fields["payload"]), "check_in_id": uuid.uuid4().hex}
            fields["payload"] = orjson.dumps(check_in)
        return bytes(msgpack.packb(fields))
