"""An entry as a row of the store's table, and back as its summary."""

from __future__ import annotations

from typing import Any, Final

import orjson

from inspector.description import describe, one_line
from inspector.entry import Answer, DeadLetter, NewEntry, Origin, Summary

COLUMNS: Final = (
    "id, event_id, received_at, project, type, level, title, culprit, platform, item_types, "
    "size_bytes, origin, answers, dead_letter"
)
INSERT: Final = (
    "INSERT INTO entries (event_id, received_at, project, type, level, title, culprit, platform,"
    " item_types, size_bytes, origin, answers, dead_letter, undecodable, searched, kept_bytes)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
# What a row costs beside its texts and bytes: numbers, row and index headers.
_ROW_BYTES: Final = 100


def row_of(entry: NewEntry) -> tuple[Any, ...]:
    """The values of ``INSERT``, the last of which is ``kept_bytes``."""
    about = describe(entry)
    envelope = entry.envelope
    types = [] if envelope is None else [one_line(item.type, 100) for item in envelope.items[:100]]
    texts = (
        about.type,
        about.level,
        about.title,
        about.culprit,
        about.platform,
        orjson.dumps(types).decode(),
        None if entry.origin is None else orjson.dumps(entry.origin).decode(),
        orjson.dumps(entry.answers).decode(),
        None if entry.dead_letter is None else orjson.dumps(entry.dead_letter).decode(),
        entry.undecodable,
        about.searched,
    )
    kept_bytes = _ROW_BYTES + len(entry.raw) + len("".join(filter(None, texts)).encode())
    return (
        about.event_id,
        entry.received_at,
        entry.project,
        *texts[:6],
        len(entry.raw),
        *texts[6:],
        kept_bytes,
    )


def summary_of(row: tuple[Any, ...]) -> Summary:
    """Of the values of ``COLUMNS``."""
    item_types, size_bytes, origin, answers, dead_letter = row[9:]
    values = (
        *row[:9],
        tuple(orjson.loads(item_types)),
        size_bytes,
        None if origin is None else Origin(**orjson.loads(origin)),
        tuple(Answer(**answer) for answer in orjson.loads(answers)),
        None if dead_letter is None else DeadLetter(**orjson.loads(dead_letter)),
    )
    return Summary(*values)
