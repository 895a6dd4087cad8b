"""Opens the store's SQLite database, and says in a user's words why it can't."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from fleet.errors import ConfigurationError

_APPLICATION_ID: Final = 0x466C7431  # "Flt1": tells our files from any other SQLite database
_VERSION: Final = 1
_PAGE_CACHE_KIB: Final = 4 * 1024
_WAL_LIMIT_BYTES: Final = 4 * 1024 * 1024
# The bytes of an entry are in a table of their own: lists and searches never pass over them.
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


def open_database(path: Path | None) -> sqlite3.Connection:
    """The database at ``path``, made where there is none; without a path, one in memory.

    One process at a time has the file. Raises ConfigurationError where it can't be used.
    """
    if path is None:
        database = _connect(":memory:")
        _prepare(database)
        return database
    try:
        # Events hold personal data: nobody else on the machine reads them.
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
    except (OSError, sqlite3.Error) as error:
        raise _refused(path, str(error)) from error
    except _NotOurs as error:
        raise _refused(path, str(error)) from error
    return database


class _NotOurs(Exception):
    pass


def _refused(path: Path, why: str) -> ConfigurationError:
    if "locked" in why:
        why = "another process has it open"
    return ConfigurationError(f"the store {str(path)!r} can't be used: {why}")


def _connect(place: str | Path) -> sqlite3.Connection:
    return sqlite3.connect(place, timeout=1.0, check_same_thread=False, isolation_level=None)


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
        raise _NotOurs("it is a database of another program")
    elif version != _VERSION:
        raise _NotOurs(f"it has version {version}; this program reads version {_VERSION}")
