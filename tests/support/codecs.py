"""A codec that does to its worker what the message says. Spawned workers import it by name."""

from __future__ import annotations

import os
import signal
import time

import orjson

from consumer_fleet.capture.envelope import Envelope, build, make_item
from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.errors import RejectedMessage


def obey(message: RawMessage) -> Envelope | Skipped:
    """Decode a message whose value is a command, or any text to deliver."""
    value = message.value or b""
    if value == b"kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif value == b"hang":
        time.sleep(3600)
    elif value == b"memory":
        raise MemoryError("no memory left for this message")
    elif value == b"bug":
        raise ZeroDivisionError("a bug in the codec")
    elif value == b"reject":
        raise RejectedMessage("bad_message", "it said so")
    elif value == b"skip":
        return Skipped("on_purpose")
    event_id = message.derived_event_id()
    body = orjson.dumps({"event_id": event_id, "message": value.decode()})
    return build(event_id, [make_item("event", body)])
