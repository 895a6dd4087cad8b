"""The store's SQLite database: its format, how rows are written and read, and opening it."""

from __future__ import annotations

import secrets
import sqlite3
import zlib
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from consumer_fleet.capture.envelope import parse
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.inspector.description import Payloads, describe
from consumer_fleet.inspector.entry import (
    DeliveryResponse,
    KafkaPosition,
    NewEntry,
    Rejection,
    Summary,
)
from consumer_fleet.inspector.untrusted import one_line
from consumer_fleet.inspector.words import searched_text, trace_ids

_APPLICATION_ID: Final = 0x466C7431  # "Flt1": tells our files from any other SQLite database
_VERSION: Final = 3  # 2 compressed nothing, 1 had no index either
_PAGE_CACHE_KIB: Final = 4 * 1024
# Of SQLite's usual 4 KiB, compressed errors would leave a quarter unused.
_MEMORY_PAGE_BYTES: Final = 16 * 1024
_WAL_LIMIT_BYTES: Final = 4 * 1024 * 1024
# An entry's bytes are in a separate table: lists and searches never read them. They are compressed
# if they are fewer than the entry's ``size_bytes``.
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
    issue TEXT,
    kept_bytes INTEGER NOT NULL
);
CREATE INDEX entries_by_event_id ON entries (event_id);
CREATE TABLE contents (id INTEGER PRIMARY KEY, raw BLOB NOT NULL);
"""
# The index finds parts of words, too: it is of each three characters, without
# their positions, which would triple its size.
_INDEXES: Final = """
CREATE INDEX entries_by_issue ON entries (issue);
CREATE TABLE traces (trace_id TEXT, id INTEGER, PRIMARY KEY (trace_id, id)) WITHOUT ROWID;
CREATE INDEX traces_by_id ON traces (id);
CREATE VIRTUAL TABLE search
    USING fts5 (searched, tokenize = 'trigram', detail = none, columnsize = 0)
"""
_INDEX_RATIO: Final = 1.6  # the size of a text and its index, in sizes of the text
# Larger envelopes are mostly of attachments, and would be in memory once more.
_COMPRESSED_BYTES: Final = 1024 * 1024
# Not in the schema: older files get it when they are opened.
_ABOUT: Final = "CREATE TABLE IF NOT EXISTS about (instance TEXT NOT NULL)"


SUMMARY_COLUMNS: Final = (
    "id, event_id, received_at, project, type, level, title, culprit, platform, item_types, "
    "size_bytes, origin, answers, dead_letter, issue"
)
INSERT_ENTRY: Final = (
    "INSERT INTO entries (event_id, received_at, project, type, level, title, culprit, platform,"
    " item_types, size_bytes, origin, answers, dead_letter, undecodable, issue, kept_bytes)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
# The cost of a row besides its texts and bytes: numbers, row and index headers.
_ROW_BYTES: Final = 100


class Row(NamedTuple):
    """An entry as it is stored. ``values`` are those of ``INSERT_ENTRY``, ``packed`` its bytes."""

    values: tuple[Any, ...]
    packed: bytes
    searched: str
    trace_ids: list[str]
    kept_bytes: int

    @classmethod
    def of(cls, entry: NewEntry) -> Row:
        items = () if entry.envelope is None else entry.envelope.items
        payloads = Payloads(items)
        about = describe(entry, payloads)
        traces = trace_ids(payloads)
        searched = searched_text(entry, about, payloads, traces)
        texts = (
            about.type,
            about.level,
            about.title,
            about.culprit,
            about.platform,
            orjson.dumps([one_line(item.type, 100) for item in items[:100]]).decode(),
            None if entry.origin is None else orjson.dumps(entry.origin).decode(),
            orjson.dumps(entry.answers).decode(),
            None if entry.dead_letter is None else orjson.dumps(entry.dead_letter).decode(),
            entry.undecodable,
            about.issue,
        )
        packed = _packed(entry.raw)
        kept_bytes = (
            _ROW_BYTES
            + len(packed)
            + len("".join(filter(None, texts)).encode())
            + int(len(searched.encode()) * _INDEX_RATIO)
        )
        about_entry = (about.event_id, entry.received_at, entry.project)
        values = (*about_entry, *texts[:6], len(entry.raw), *texts[6:], kept_bytes)
        return cls(values, packed, searched, traces, kept_bytes)

    def add_to_indexes(self, database: sqlite3.Connection, entry_id: int) -> None:
        """Make the entry known to searches and to its traces."""
        database.execute(
            "INSERT INTO search (rowid, searched) VALUES (?, ?)", (entry_id, self.searched)
        )
        for trace_id in self.trace_ids:
            database.execute("INSERT INTO traces VALUES (?, ?)", (trace_id, entry_id))


def _packed(raw: bytes) -> bytes:
    if len(raw) > _COMPRESSED_BYTES:
        return raw
    # The fastest level: higher ones save few bytes more.
    compressed = zlib.compress(raw, 1)
    return compressed if len(compressed) < len(raw) else raw


def unpacked(stored: bytes, size_bytes: int) -> bytes:
    """An entry's bytes as received. ``size_bytes`` is the entry's."""
    return stored if len(stored) == size_bytes else zlib.decompress(stored)


def delete_entries(database: sqlite3.Connection, last_id: int) -> None:
    """Delete the entries up to ``last_id``, and everything stored for them."""
    for table, column in (
        ("entries", "id"), ("contents", "id"), ("traces", "id"), ("search", "rowid")
    ):  # fmt: skip
        database.execute(f"DELETE FROM {table} WHERE {column} <= ?", (last_id,))  # noqa: S608 - constants


def summary_from(row: tuple[Any, ...]) -> Summary:
    """Read a row of ``SUMMARY_COLUMNS``."""
    item_types, size_bytes, origin, answers, dead_letter, issue = row[9:]
    values = (
        *row[:9],
        tuple(orjson.loads(item_types)),
        size_bytes,
        None if origin is None else position_from(origin),
        tuple(DeliveryResponse(**answer) for answer in orjson.loads(answers)),
        None if dead_letter is None else Rejection(**orjson.loads(dead_letter)),
        issue,
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
        database.execute(f"PRAGMA page_size = {_MEMORY_PAGE_BYTES}")
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
        for statement in f"{_SCHEMA}{_INDEXES}".split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {_VERSION}")
        database.execute("COMMIT")
    elif application_id != _APPLICATION_ID:
        raise ForeignDatabase("it belongs to another program")
    elif version == 1:
        _update_from_version_1(database)
    elif version == 2:
        # Its bytes stay as they are; earlier programs can't read those that are added.
        database.execute(f"PRAGMA user_version = {_VERSION}")
    elif version != _VERSION:
        raise ForeignDatabase(
            f"it has format version {version}; this program reads version {_VERSION}"
        )
    database.execute(_ABOUT)


def _update_from_version_1(database: sqlite3.Connection) -> None:
    """Index all entries: that version searched a column of theirs."""
    database.execute("BEGIN IMMEDIATE")
    database.execute("ALTER TABLE entries DROP COLUMN searched")
    database.execute("ALTER TABLE entries ADD COLUMN issue TEXT")
    for statement in _INDEXES.split(";"):
        database.execute(statement)
    ids = database.execute("SELECT id FROM entries").fetchall()
    for (entry_id,) in ids:
        row = Row.of(_stored_entry(database, entry_id))
        row.add_to_indexes(database, entry_id)
        database.execute("UPDATE contents SET raw = ? WHERE id = ?", (row.packed, entry_id))
        database.execute(
            "UPDATE entries SET issue = ?, kept_bytes = ? WHERE id = ?",
            (*row.values[-2:], entry_id),
        )
    database.execute(f"PRAGMA user_version = {_VERSION}")
    database.execute("COMMIT")


def _stored_entry(database: sqlite3.Connection, entry_id: int) -> NewEntry:
    raw, received_at, project, origin, answers, dead_letter, undecodable = database.execute(
        "SELECT raw, received_at, project, origin, answers, dead_letter, undecodable"
        " FROM entries JOIN contents USING (id) WHERE id = ?",
        (entry_id,),
    ).fetchone()
    return NewEntry(
        bytes(raw),
        None if undecodable is not None else parse(bytes(raw)),
        received_at,
        project,
        None if origin is None else position_from(origin),
        tuple(DeliveryResponse(**answer) for answer in orjson.loads(answers)),
        None if dead_letter is None else Rejection(**orjson.loads(dead_letter)),
        undecodable,
    )


def instance_of(database: sqlite3.Connection) -> str:
    """The random id of this database, created at the first call."""
    found = database.execute("SELECT instance FROM about").fetchone()
    return new_instance(database) if found is None else str(found[0])


def new_instance(database: sqlite3.Connection) -> str:
    """Give the database another random id."""
    instance = secrets.token_hex(8)
    database.execute("DELETE FROM about")
    database.execute("INSERT INTO about VALUES (?)", (instance,))
    return instance
