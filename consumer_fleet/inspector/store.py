"""Keeps the latest entries, in SQLite: bounded, searchable, and with a word to who follows."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from consumer_fleet.errors import OutputError
from consumer_fleet.inspector.database import NotOurs, instance_of, open_database, unusable
from consumer_fleet.inspector.description import describe, one_line
from consumer_fleet.inspector.entry import Answer, DeadLetter, Filter, NewEntry, Origin, Summary

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


MAX_ROWS: Final = 10_000
MAX_BYTES: Final = 50 * 1024 * 1024
_SLACK: Final = 100  # room is made for a hundredth of the limits at a time
_LARGEST_ID: Final = 2**63 - 1
# Above it, bytes are written into place: bound to a statement they would be copied twice.
_BOUND_BYTES: Final = 1024 * 1024


class Counts(NamedTuple):
    """``accepted`` counts all since the store was opened; the others what is there now.

    ``kept_bytes`` counts everything that is kept of an entry, not its envelope alone.
    """

    accepted: int
    kept: int
    kept_bytes: int


class Page(NamedTuple):
    """Entries of a list. ``total`` counts all that match, on every page; ``next`` is the ``before``
    of the next page, None on the last one.
    """

    events: list[Summary]
    total: int
    next: int | None


class Content(NamedTuple):
    """``undecodable`` says why the bytes are no envelope; None where they are one."""

    raw: bytes
    undecodable: str | None


class Store:
    """A bounded store: above ``max_rows`` or ``max_bytes`` the oldest entries go first.

    Without a path it is in memory and gone with the process. ``instance`` tells it from every other
    store: ids of entries mean nothing in another. All methods may be called from any thread; they
    block on one another, and on the disk where there is a path. They raise ConfigurationError, as
    the constructor does, where the file can't be read.
    """

    def __init__(
        self, path: Path | None = None, *, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES
    ) -> None:
        self.max_bytes = max_bytes
        self._max_rows = max_rows
        self._path = path
        self._lock = threading.Lock()  # one connection, which SQLite lets one thread use at a time
        self._listeners: tuple[Callable[[], None], ...] = ()
        self._accepted = self._kept = self._kept_bytes = 0
        try:
            self._db = open_database(path)
        except (OSError, sqlite3.Error, NotOurs) as error:
            raise unusable(path, error) from error
        try:
            self.instance = self._take_stock()
        except sqlite3.Error as error:
            self._db.close()
            raise unusable(path, error) from error

    # -- writing --------------------------------------------------------------------------------

    def add(self, entry: NewEntry) -> None:
        """Keep one entry. One that alone is larger than the store is counted and not kept.

        Raises OutputError where the store's file can't be written.
        """
        self.add_all((entry,))

    def add_all(self, entries: Sequence[NewEntry]) -> None:
        """Like ``add``, for several at once: all of them or, where it raises, none."""
        rows = [(row_of(entry), entry.raw) for entry in entries]
        fitting = [(row, raw) for row, raw in rows if row[-1] <= self.max_bytes]
        with self._lock:
            # In a transaction of its own: else SQLite would hold what goes until what comes is in.
            with self._transaction():
                self._make_room(len(fitting), sum(row[-1] for row, _ in fitting))
            with self._transaction():
                for row, raw in fitting:
                    self._insert(row, raw)
            self._accepted += len(rows)
        for listener in self._listeners:
            listener()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after entries were added: in the thread that added them, so briefly."""
        self._listeners = (*self._listeners, listener)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # -- reading --------------------------------------------------------------------------------

    def latest(self, limit: int) -> list[Summary]:
        """The newest first."""
        return self._select("ORDER BY id DESC LIMIT ?", limit)

    def page(self, filter_: Filter, *, before: int | None = None, limit: int = 100) -> Page:
        """What matches and is older than the entry ``before``, the newest first."""
        condition, values = filter_.condition()
        total = self.counts().kept if filter_.is_empty else self._count(condition, values)
        end = _LARGEST_ID if before is None else min(before, _LARGEST_ID)
        found = self._select(
            f"WHERE id < ? AND {condition} ORDER BY id DESC LIMIT ?", end, *values, limit + 1
        )
        events = found[:limit]
        return Page(events, total, events[-1].id if len(found) > limit else None)

    def after(self, entry_id: int, limit: int) -> list[Summary]:
        """What is newer than that entry, the oldest first."""
        return self._select("WHERE id > ? ORDER BY id LIMIT ?", min(entry_id, _LARGEST_ID), limit)

    def find(self, event_id: str) -> list[Summary]:
        """All entries of one event, the oldest first: several if it was delivered repeatedly."""
        return self._select("WHERE event_id = ? ORDER BY id", event_id)

    def get(self, entry_id: int) -> Summary | None:
        """One entry; None once it is gone."""
        found = self._select("WHERE id = ?", min(entry_id, _LARGEST_ID))
        return found[0] if found else None

    def content(self, entry_id: int) -> Content | None:
        """An entry's bytes; None once it is gone."""
        row = self._one(
            "SELECT raw, undecodable FROM contents JOIN entries USING (id) WHERE id = ?",
            min(entry_id, _LARGEST_ID),
        )
        return None if row is None else Content(bytes(row[0]), row[1])

    def raw(self, entry_id: int) -> bytes | None:
        """An envelope's bytes as they came, decompressed; None once it is gone."""
        content = self.content(entry_id)
        return None if content is None else content.raw

    def newest_id(self) -> int:
        """0 in an empty store."""
        row = self._one("SELECT coalesce(max(id), 0) FROM entries")
        return 0 if row is None else int(row[0])

    def read_origins(self) -> set[tuple[str, int, int]]:
        """Topic, partition and offset of what was read from topics, not delivered by somebody."""
        with self._reading() as database:
            rows = database.execute(
                "SELECT origin FROM entries WHERE origin IS NOT NULL AND answers = '[]'"
            ).fetchall()
        origins = (Origin(**orjson.loads(origin)) for (origin,) in rows)
        return {(origin.topic, origin.partition, origin.offset) for origin in origins}

    def counts(self) -> Counts:
        with self._lock:
            return Counts(self._accepted, self._kept, self._kept_bytes)

    # -- inside ---------------------------------------------------------------------------------

    def _take_stock(self) -> str:
        """Count what the file has, and give its instance."""
        self._kept, self._kept_bytes = self._db.execute(
            "SELECT count(*), coalesce(sum(kept_bytes), 0) FROM entries"
        ).fetchone()
        self._make_room(0, 0)  # the limits may be lower than when the file was written
        return instance_of(self._db)

    def _insert(self, row: tuple[Any, ...], raw: bytes) -> None:
        kept_bytes = row[-1]
        self._make_room(1, kept_bytes)  # for more than fit in at once
        entry_id = self._db.execute(INSERT, row).lastrowid
        if entry_id is None:
            raise RuntimeError("an INSERT has given no id")
        if len(raw) <= _BOUND_BYTES:
            self._db.execute("INSERT INTO contents VALUES (?, ?)", (entry_id, raw))
        else:
            self._db.execute("INSERT INTO contents VALUES (?, zeroblob(?))", (entry_id, len(raw)))
            with self._db.blobopen("contents", "raw", entry_id) as blob:
                blob.write(raw)
        self._kept += 1
        self._kept_bytes += kept_bytes

    def _make_room(self, rows: int, size_bytes: int) -> None:
        """Delete the oldest until so much more may come."""
        max_rows, max_bytes = self._max_rows - rows, self.max_bytes - size_bytes
        if self._kept <= max_rows and self._kept_bytes <= max_bytes:
            return
        # A little more than is needed, so that not every entry pays for it.
        max_rows -= self._max_rows // _SLACK
        max_bytes -= self.max_bytes // _SLACK
        last = 0
        for entry_id, kept_bytes in self._db.execute(
            "SELECT id, kept_bytes FROM entries ORDER BY id"
        ):
            if self._kept <= max_rows and self._kept_bytes <= max_bytes:
                break
            last = entry_id
            self._kept -= 1
            self._kept_bytes -= kept_bytes
        self._db.execute("DELETE FROM entries WHERE id <= ?", (last,))
        self._db.execute("DELETE FROM contents WHERE id <= ?", (last,))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it, or where it raises, nothing. Raises OutputError."""
        before = self._kept, self._kept_bytes
        try:
            self._db.execute("BEGIN")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            self._kept, self._kept_bytes = before
            with contextlib.suppress(sqlite3.Error):  # the first error says what is wrong
                self._db.rollback()
            if isinstance(error, sqlite3.Error):
                raise OutputError(f"the inspector's store can't be written: {error}") from error
            raise

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._db
            except sqlite3.Error as error:
                raise unusable(self._path, error) from error

    def _select(self, rest: str, *values: int | str) -> list[Summary]:
        with self._reading() as database:
            rows = database.execute(
                f"SELECT {COLUMNS} FROM entries {rest}",  # noqa: S608 - all parts are constants
                values,
            ).fetchall()
        return [summary_of(row) for row in rows]

    def _count(self, condition: str, values: Sequence[int | str]) -> int:
        statement = f"SELECT count(*) FROM entries WHERE {condition}"  # noqa: S608 - as above
        row = self._one(statement, *values)
        return 0 if row is None else int(row[0])

    def _one(self, statement: str, *values: int | str) -> tuple[Any, ...] | None:
        with self._reading() as database:
            row: tuple[Any, ...] | None = database.execute(statement, values).fetchone()
        return row
