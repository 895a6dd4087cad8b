"""Store the latest entries in SQLite: bounded, searchable, with notification of changes."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from consumer_fleet.errors import OutputError
from consumer_fleet.inspector.database import (
    INSERT_ENTRY,
    SUMMARY_COLUMNS,
    ForeignDatabase,
    Row,
    delete_entries,
    instance_of,
    new_instance,
    open_database,
    position_from,
    summary_from,
    unpacked,
    unusable,
)
from consumer_fleet.inspector.entry import EXACT, Filter, NewEntry, Summary

MAX_ROWS: Final = 10_000
MAX_BYTES: Final = 50 * 1024 * 1024
_SLACK: Final = 100  # evict a hundredth of the limits at a time
_LARGEST_ID: Final = 2**63 - 1
_CHOICES: Final = 200
# Longer values are written as a blob: a bound parameter would be copied twice.
_BOUND_BYTES: Final = 1024 * 1024


class Counts(NamedTuple):
    """``accepted`` counts entries since the store was opened; ``kept`` those stored now.

    ``kept_bytes`` counts everything stored for an entry, not only its envelope.
    """

    accepted: int
    kept: int
    kept_bytes: int


class EntryPage(NamedTuple):
    """One page of a list. ``total`` counts the matches on all pages; ``next`` is the ``before`` of
    the next page, None on the last one. ``repeats`` counts the entries of each issue in a
    grouped list, by the id of the newest one.
    """

    events: list[Summary]
    total: int
    next: int | None
    repeats: dict[int, int]


class Content(NamedTuple):
    """``undecodable`` is the reason why the bytes are not an envelope; None if they are one."""

    raw: bytes
    undecodable: str | None


class Store:
    """A bounded store: above ``max_rows`` or ``max_bytes`` it evicts the oldest entries.

    Without a path it is in memory and ends with the process. ``instance`` identifies the store:
    entry ids are valid in one store only, and a cleared store is another one. All methods may be
    called from any thread; they block one another, and on the disk if there is a path. They raise
    ConfigurationError, as the constructor does, if the file can't be read.
    """

    def __init__(
        self, path: Path | None = None, *, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES
    ) -> None:
        self.max_bytes = max_bytes
        self._max_rows = max_rows
        self._path = path
        self._lock = threading.Lock()  # one connection, for one thread at a time
        self._listeners: tuple[Callable[[], None], ...] = ()
        self._accepted = self._kept = self._kept_bytes = 0
        try:
            self._db = open_database(path)
        except (OSError, sqlite3.Error, ForeignDatabase) as error:
            raise unusable(path, error) from error
        try:
            self.instance = self._count_stored()
        except sqlite3.Error as error:
            self._db.close()
            raise unusable(path, error) from error

    # -- writing --------------------------------------------------------------------------------

    def add(self, entry: NewEntry) -> None:
        """Store one entry. An entry larger than the whole store is counted, not stored.

        Raises OutputError if the store's file can't be written.
        """
        self.add_all((entry,))

    def add_all(self, entries: Sequence[NewEntry]) -> None:
        """Like ``add`` for several entries: all of them or, if it raises, none."""
        rows = [Row.of(entry) for entry in entries]
        fitting = [row for row in rows if row.kept_bytes <= self.max_bytes]
        with self._lock:
            # In a separate transaction: else SQLite would hold deleted and new data at once.
            with self._transaction():
                self._evict(len(fitting), sum(row.kept_bytes for row in fitting))
            with self._transaction():
                for row in fitting:
                    self._insert(row)
            self._accepted += len(rows)
        for listener in self._listeners:
            listener()

    def clear(self) -> None:
        """Delete all entries and change ``instance``. Their ids are not given again."""
        with self._lock:
            with self._transaction():
                delete_entries(self._db, _LARGEST_ID)
                self._kept = self._kept_bytes = 0
                instance = new_instance(self._db)
            self.instance = instance
        for listener in self._listeners:
            listener()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each change, in the changing thread: it must be quick."""
        self._listeners = (*self._listeners, listener)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # -- reading --------------------------------------------------------------------------------

    def latest(self, limit: int) -> list[Summary]:
        """The latest entries, newest first."""
        return self._select("ORDER BY id DESC LIMIT ?", limit)

    def page(
        self,
        filter_: Filter,
        *,
        before: int | None = None,
        limit: int = 100,
        grouped: bool = False,
    ) -> EntryPage:
        """Matching entries older than the entry ``before``, newest first.

        ``grouped`` returns the newest entry of each issue; what has no issue is on its own.
        """
        condition, values = filter_.condition()
        end = _LARGEST_ID if before is None else min(before, _LARGEST_ID)
        repeats: dict[int, int] = {}
        if grouped or filter_.text.split():
            # A search once for both: the number of matches needs all of them.
            matches = self._matches(condition, values, grouped=grouped)
            total = len(matches)
            older = [entry_id for entry_id, _ in matches if entry_id < end][: limit + 1]
            condition, values = f"id IN ({', '.join('?' * len(older))})", list(older)
            if grouped:
                repeats = dict(matches)
        else:
            total = self.counts().kept if filter_.is_empty else self._count(condition, values)
        found = self._select(
            f"WHERE id < ? AND {condition} ORDER BY id DESC LIMIT ?", end, *values, limit + 1
        )
        events = found[:limit]
        counts = {entry.id: repeats[entry.id] for entry in events} if grouped else {}
        return EntryPage(events, total, events[-1].id if len(found) > limit else None, counts)

    def after(self, entry_id: int, limit: int) -> list[Summary]:
        """Entries newer than that one, oldest first."""
        return self._select("WHERE id > ? ORDER BY id LIMIT ?", min(entry_id, _LARGEST_ID), limit)

    def find(self, event_id: str) -> list[Summary]:
        """All entries of one event, oldest first: several if it was delivered repeatedly."""
        return self._select("WHERE event_id = ? ORDER BY id", event_id)

    def of_trace(self, trace_id: str, limit: int) -> list[Summary]:
        """The newest entries that are part of a trace, oldest first."""
        found = self._select(
            "JOIN traces USING (id) WHERE trace_id = ? ORDER BY id DESC LIMIT ?", trace_id, limit
        )
        return found[::-1]

    def traces_of(self, entry_id: int) -> list[str]:
        """The traces that an entry is part of."""
        with self._reading() as database:
            rows = database.execute(
                "SELECT trace_id FROM traces WHERE id = ?", (min(entry_id, _LARGEST_ID),)
            ).fetchall()
        return [trace_id for (trace_id,) in rows]

    def choices(self) -> dict[str, list[str]]:
        """The values that each exact filter can have, the most frequent ones first."""
        return {
            name: self._values_of(column) for name, column in EXACT.items() if name != "issue"
        } | {"type": self._values_of("item.value", ", json_each(item_types) AS item")}

    def _values_of(self, column: str, join: str = "") -> list[str]:
        with self._reading() as database:
            rows = database.execute(
                f"SELECT {column} AS value FROM entries{join} WHERE value != ''"  # noqa: S608 - constants
                " GROUP BY value ORDER BY count(*) DESC LIMIT ?",
                (_CHOICES,),
            ).fetchall()
        return [str(value) for (value,) in rows]

    def get(self, entry_id: int) -> Summary | None:
        """One entry; None if it is not stored."""
        found = self._select("WHERE id = ?", min(entry_id, _LARGEST_ID))
        return found[0] if found else None

    def content(self, entry_id: int) -> Content | None:
        """An entry's bytes; None if it is not stored."""
        row = self._one(
            "SELECT raw, size_bytes, undecodable FROM contents JOIN entries USING (id)"
            " WHERE id = ?",
            min(entry_id, _LARGEST_ID),
        )
        return None if row is None else Content(unpacked(*row[:2]), row[2])

    def raw(self, entry_id: int) -> bytes | None:
        """An entry's bytes as received, decompressed; None if it is not stored."""
        content = self.content(entry_id)
        return None if content is None else content.raw

    def newest_id(self) -> int:
        """The id of the newest entry; 0 in an empty store."""
        row = self._one("SELECT coalesce(max(id), 0) FROM entries")
        return 0 if row is None else int(row[0])

    def read_origins(self) -> set[tuple[str, int, int]]:
        """Topic, partition and offset of entries read from Kafka, without those posted here."""
        with self._reading() as database:
            rows = database.execute(
                "SELECT origin FROM entries WHERE origin IS NOT NULL AND answers = '[]'"
            ).fetchall()
        origins = (position_from(origin) for (origin,) in rows)
        return {(origin.topic, origin.partition, origin.offset) for origin in origins}

    def counts(self) -> Counts:
        with self._lock:
            return Counts(self._accepted, self._kept, self._kept_bytes)

    # -- inside ---------------------------------------------------------------------------------

    def _count_stored(self) -> str:
        """Count the stored entries, apply the limits, and return the instance."""
        self._kept, self._kept_bytes = self._db.execute(
            "SELECT count(*), coalesce(sum(kept_bytes), 0) FROM entries"
        ).fetchone()
        self._evict(0, 0)  # the limits may have been reduced
        return instance_of(self._db)

    def _insert(self, row: Row) -> None:
        packed = row.packed
        self._evict(1, row.kept_bytes)  # a batch may be larger than the store
        entry_id = self._db.execute(INSERT_ENTRY, row.values).lastrowid
        if entry_id is None:
            raise RuntimeError("INSERT returned no id")
        if len(packed) <= _BOUND_BYTES:
            self._db.execute("INSERT INTO contents VALUES (?, ?)", (entry_id, packed))
        else:
            size = len(packed)
            self._db.execute("INSERT INTO contents VALUES (?, zeroblob(?))", (entry_id, size))
            with self._db.blobopen("contents", "raw", entry_id) as blob:
                blob.write(packed)
        row.add_to_indexes(self._db, entry_id)
        self._kept += 1
        self._kept_bytes += row.kept_bytes

    def _evict(self, rows: int, size_bytes: int) -> None:
        """Delete the oldest entries until there is space for this much more."""
        max_rows, max_bytes = self._max_rows - rows, self.max_bytes - size_bytes
        if self._kept <= max_rows and self._kept_bytes <= max_bytes:
            return
        # Evict a little more than needed, so that not every insert has to evict.
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
        delete_entries(self._db, last)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit, or roll back if the block raises. Raises OutputError for SQLite's errors."""
        before = self._kept, self._kept_bytes
        try:
            self._db.execute("BEGIN")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            self._kept, self._kept_bytes = before
            with contextlib.suppress(sqlite3.Error):  # the first error is the cause
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
                f"SELECT {SUMMARY_COLUMNS} FROM entries {rest}",  # noqa: S608 - all parts are constants
                values,
            ).fetchall()
        return [summary_from(row) for row in rows]

    def _matches(
        self, condition: str, values: Sequence[int | str], *, grouped: bool
    ) -> list[tuple[int, int]]:
        """The matching entries, newest first; if grouped, with how many each stands for."""
        # An entry's id is a number, so none is an issue.
        group = "coalesce(issue, id)" if grouped else "id"
        statement = (
            f"SELECT max(id), count(*) FROM entries WHERE {condition}"  # noqa: S608 - as above
            f" GROUP BY {group} ORDER BY max(id) DESC"
        )
        with self._reading() as database:
            return database.execute(statement, values).fetchall()

    def _count(self, condition: str, values: Sequence[int | str]) -> int:
        statement = f"SELECT count(*) FROM entries WHERE {condition}"  # noqa: S608 - as above
        row = self._one(statement, *values)
        return 0 if row is None else int(row[0])

    def _one(self, statement: str, *values: int | str) -> tuple[Any, ...] | None:
        with self._reading() as database:
            row: tuple[Any, ...] | None = database.execute(statement, values).fetchone()
        return row
