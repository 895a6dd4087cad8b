"""Opens the store's SQLite database, and says in a user's words what is wrong with it."""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path
from typing import Final

from consumer_fleet.errors import ConfigurationError

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
# Not in the schema: files that are older than it get it when they are opened.
_ABOUT: Final = "CREATE TABLE IF NOT EXISTS about (instance TEXT NOT NULL)"


def open_database(path: Path | None) -> sqlite3.Connection:
    """The database at ``path``, made where there is none; without a path, one in memory.

    One process at a time has the file. Raises OSError, sqlite3.Error and NotOurs, which
    ``unusable`` puts into words.
    """
    if path is None:
        database = _connect(":memory:")
        # Where it is on, what is deleted is overwritten, and the journal holds it meanwhile.
        database.execute("PRAGMA secure_delete = OFF")
        _prepare(database)
        return database
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
    return database


class NotOurs(Exception):
    """The file is a database, but not one of this version of this program."""


def unusable(path: Path | None, error: Exception) -> ConfigurationError:
    why = "another process has it open" if "locked" in str(error) else str(error)
    name = "in memory" if path is None else repr(str(path))
    return ConfigurationError(f"the store {name} can't be used: {why}")


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
        raise NotOurs("it is a database of another program")
    elif version != _VERSION:
        raise NotOurs(f"it has version {version}; this program reads version {_VERSION}")
    database.execute(_ABOUT)


def instance_of(database: sqlite3.Connection) -> str:
    """What tells this database from every other: made up once, kept in it."""
    found = database.execute("SELECT instance FROM about").fetchone()
    if found is None:
        found = (secrets.token_hex(8),)
        database.execute("INSERT INTO about VALUES (?)", found)
    return str(found[0])
