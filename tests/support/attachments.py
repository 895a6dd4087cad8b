"""Events with attachments in chunks, as Relay writes them, and the envelopes that they become."""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from consumer_fleet.capture.envelope import Envelope


@dataclass(frozen=True)
class AttachedEvent:
    """One event: its messages in Relay's order, and a description of its envelope."""

    event_id: str
    messages: list[bytes]
    expected: tuple[tuple[str, ...], ...]

    @property
    def key(self) -> bytes:
        return uuid.UUID(self.event_id).bytes


def chunk_message(event_id: str, attachment_id: str, index: int, payload: bytes) -> bytes:
    return _packed(
        type="attachment_chunk",
        payload=payload,
        event_id=event_id,
        project_id=42,
        id=attachment_id,
        chunk_index=index,
    )


def attached_event(
    chance: random.Random, sizes: Sequence[int], *, chunk_bytes: int = 1024 * 1024
) -> AttachedEvent:
    """An event with attachments of these sizes; each is cut into chunks of ``chunk_bytes``."""
    event_id = uuid.UUID(int=chance.getrandbits(128)).hex
    payload = json.dumps({"event_id": event_id, "type": "error", "level": "error"}).encode()
    messages: list[bytes] = []
    attachments: list[dict[str, Any]] = []
    expected: list[tuple[str, ...]] = [("event", _digest(payload))]
    for number, size in enumerate(sizes):
        content = chance.randbytes(size)
        attachment_id = str(uuid.UUID(int=chance.getrandbits(128)))
        pieces = [content[at : at + chunk_bytes] for at in range(0, size, chunk_bytes)]
        messages += [
            chunk_message(event_id, attachment_id, index, piece)
            for index, piece in enumerate(pieces)
        ]
        attachments.append(
            {
                "id": attachment_id,
                "name": f"file-{number}.bin",
                "rate_limited": False,
                "content_type": "application/octet-stream",
                "attachment_type": "event.attachment",
                "size": size,
                "chunks": len(pieces),
            }
        )
        expected.append(("attachment", f"file-{number}.bin", _digest(content)))
    messages.append(
        _packed(
            type="event",
            payload=payload,
            start_time=1_700_000_000,
            event_id=event_id,
            project_id=42,
            remote_addr=None,
            attachments=attachments,
        )
    )
    return AttachedEvent(event_id, messages, tuple(expected))


def described(envelope: Envelope) -> tuple[tuple[str, ...], ...]:
    """An envelope as ``AttachedEvent.expected``."""
    found: list[tuple[str, ...]] = []
    for item in envelope.items:
        name = (json.loads(item.header)["filename"],) if item.type == "attachment" else ()
        found.append((item.type, *name, _digest(item.payload)))
    return tuple(found)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _packed(**fields: Any) -> bytes:
    return bytes(msgpack.packb(fields))
