"""Keeps the latest envelopes that the receiver accepted, in SQLite."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS envelopes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    received_at REAL NOT NULL,
    project TEXT NOT NULL,
    event_id TEXT,
    item_types TEXT NOT NULL,
    raw BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS envelopes_by_event_id ON envelopes (event_id);
"""
_COLUMNS = "id, received_at, project, event_id, item_types, length(raw)"


@dataclass(frozen=True, slots=True)
class StoredEnvelope:
    """An envelope without its bytes. ``received_at`` is in seconds since 1970."""

    id: int
    received_at: float
    project: str
    event_id: str | None
    item_types: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Counts:
    """``accepted`` counts all since the store was opened; the others what is there now."""

    accepted: int
    kept: int
    kept_bytes: int


class Store:
    """A bounded store: above ``max_rows`` or ``max_bytes`` of raw envelopes the oldest go first.

    Without a path it is in memory and gone with the process. All methods may be called from any
    thread; they block on one another, and on the disk where there is a path.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        max_rows: int = 10_000,
        max_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._lock = threading.Lock()  # one connection, which SQLite lets one thread use at a time
        self._db = sqlite3.connect(
            ":memory:" if path is None else path, check_same_thread=False, isolation_level=None
        )
        if path is not None:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        row = self._db.execute("SELECT count(*), total(length(raw)) FROM envelopes").fetchone()
        self._kept, self._kept_bytes = int(row[0]), int(row[1])
        self._accepted = 0
        with self._lock:
            self._evict()  # the limits may be lower than when the file was written

    def add(
        self,
        raw: bytes,
        *,
        received_at: float,
        project: str,
        event_id: str | None,
        item_types: Sequence[str],
    ) -> None:
        """Keep one envelope. One that alone is larger than the store is counted and not kept."""
        with self._lock:
            self._db.execute(
                "INSERT INTO envelopes (received_at, project, event_id, item_types, raw)"
                " VALUES (?, ?, ?, ?, ?)",
                (received_at, project, event_id, "\n".join(item_types), raw),
            )
            self._accepted += 1
            self._kept += 1
            self._kept_bytes += len(raw)
            self._evict()

    def latest(self, limit: int) -> list[StoredEnvelope]:
        """The newest first."""
        return self._select("ORDER BY id DESC LIMIT ?", limit)

    def find(self, event_id: str) -> list[StoredEnvelope]:
        """All envelopes of one event, the oldest first: several if it was delivered repeatedly."""
        return self._select("WHERE event_id = ? ORDER BY id", event_id)

    def raw(self, envelope_id: int) -> bytes | None:
        """An envelope's bytes as they came, decompressed; None once it is gone."""
        with self._lock:
            row = self._db.execute(
                "SELECT raw FROM envelopes WHERE id = ?", (envelope_id,)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def counts(self) -> Counts:
        with self._lock:
            return Counts(self._accepted, self._kept, self._kept_bytes)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _select(self, rest: str, parameter: int | str) -> list[StoredEnvelope]:
        with self._lock:
            rows = self._db.execute(
                f"SELECT {_COLUMNS} FROM envelopes {rest}",  # noqa: S608 - both parts are constants
                (parameter,),
            ).fetchall()
        return [
            StoredEnvelope(
                row_id, at, project, event_id, tuple(types.split("\n")) if types else (), n
            )
            for row_id, at, project, event_id, types, n in rows
        ]

    def _evict(self) -> None:
        while self._kept > self._max_rows or self._kept_bytes > self._max_bytes:
            row_id, size = self._db.execute(
                "SELECT id, length(raw) FROM envelopes ORDER BY id LIMIT 1"
            ).fetchone()
            self._db.execute("DELETE FROM envelopes WHERE id = ?", (row_id,))
            self._kept -= 1
            self._kept_bytes -= size
