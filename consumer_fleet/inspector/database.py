"""The store's SQLite database: its format, how rows are written and read, and opening it."""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path
from typing import Any, Final

import orjson

from consumer_fleet.errors import ConfigurationError
from consumer_fleet.inspector.description import describe, one_line
from consumer_fleet.inspector.entry import (
    DeliveryResponse,
    KafkaPosition,
    NewEntry,
    Rejection,
    Summary,
)

_APPLICATION_ID: Final = 0x466C7431  # "Flt1": tells our files from any other SQLite database
_VERSION: Final = 1
_PAGE_CACHE_KIB: Final = 4 * 1024
_WAL_LIMIT_BYTES: Final = 4 * 1024 * 1024
# An entry's bytes are in a separate table: lists and searches never read them.
_SCHEMA: Final = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    received_at REAL NOT NULL,
    project TEXT NOT NULL,
    event_id TEXT,
    type TEXT NOT NULL,
    level TEXT,
    title TEXT NOT NULL,
    culprit TEXT NOT NULL,
    platform TEXT,
    item_types TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    origin TEXT,
    answers TEXT NOT NULL,
    dead_letter TEXT,
    undecodable TEXT,
    searched TEXT NOT NULL,
    kept_bytes INTEGER NOT NULL
);
CREATE INDEX entries_by_event_id ON entries (event_id);
CREATE TABLE contents (id INTEGER PRIMARY KEY, raw BLOB NOT NULL);
"""
# Not in the schema: older files get it when they are opened.
_ABOUT: Final = "CREATE TABLE IF NOT EXISTS about (instance TEXT NOT NULL)"


SUMMARY_COLUMNS: Final = (
    "id, event_id, received_at, project, type, level, title, culprit, platform, item_types, "
    "size_bytes, origin, answers, dead_letter"
)
INSERT_ENTRY: Final = (
    "INSERT INTO entries (event_id, received_at, project, type, level, title, culprit, platform,"
    " item_types, size_bytes, origin, answers, dead_letter, undecodable, searched, kept_bytes)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
# The cost of a row besides its texts and bytes: numbers, row and index headers.
_ROW_BYTES: Final = 100


def entry_values(entry: NewEntry) -> tuple[Any, ...]:
    """The values of ``INSERT_ENTRY``; the last one is ``kept_bytes``."""
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


def summary_from(row: tuple[Any, ...]) -> Summary:
    """Read a row of ``SUMMARY_COLUMNS``."""
    item_types, size_bytes, origin, answers, dead_letter = row[9:]
    values = (
        *row[:9],
        tuple(orjson.loads(item_types)),
        size_bytes,
        None if origin is None else position_from(origin),
        tuple(DeliveryResponse(**answer) for answer in orjson.loads(answers)),
        None if dead_letter is None else Rejection(**orjson.loads(dead_letter)),
    )
    return Summary(*values)


def position_from(origin: str) -> KafkaPosition:
    """Read the column ``origin``."""
    return KafkaPosition(**orjson.loads(origin))


def open_database(path: Path | None) -> sqlite3.Connection:
    """Open the database at ``path`` and create it if necessary; without a path, in memory.

    One process at a time can open the file. Raises OSError, sqlite3.Error and ForeignDatabase,
    which ``unusable`` translates.
    """
    if path is None:
        database = _connect(":memory:")
        # If on, SQLite overwrites deleted data and keeps it in the journal meanwhile.
        database.execute("PRAGMA secure_delete = OFF")
        _prepare(database)
        return database
    # Events contain personal data: other users of the machine must not read them.
    path.touch(mode=0o600, exist_ok=True)
    database = _connect(path)
    try:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        _prepare(database)
    except BaseException:
        database.close()
        raise
    return database


class ForeignDatabase(Exception):
    """The file is a database of another program, or of another version of this one."""


def unusable(path: Path | None, error: Exception) -> ConfigurationError:
    """The error to raise where the database can't be opened or read."""
    why = "another process has it open" if "locked" in str(error) else str(error)
    name = "in memory" if path is None else repr(str(path))
    return ConfigurationError(f"the store {name} can't be used: {why}")


def _connect(database: str | Path) -> sqlite3.Connection:
    return sqlite3.connect(database, timeout=1.0, check_same_thread=False, isolation_level=None)


def _prepare(database: sqlite3.Connection) -> None:
    database.execute(f"PRAGMA cache_size = -{_PAGE_CACHE_KIB}")
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application_id,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if tables == 0:
        database.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {_VERSION}")
        database.execute("COMMIT")
    elif application_id != _APPLICATION_ID:
        raise ForeignDatabase("it belongs to another program")
    elif version != _VERSION:
        raise ForeignDatabase(
            f"it has format version {version}; this program reads version {_VERSION}"
        )
    database.execute(_ABOUT)


def instance_of(database: sqlite3.Connection) -> str:
    """The random id of this database, created at the first call."""
    found = database.execute("SELECT instance FROM about").fetchone()
    if found is None:
        found = (secrets.token_hex(8),)
        database.execute("INSERT INTO about VALUES (?)", found)
    return str(found[0])
