"""The inspector's store: bounded, ordered, searchable, and safe to use from threads."""

from __future__ import annotations

import random
import re
import sqlite3
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consumer_fleet.capture.envelope import build, make_item
from consumer_fleet.errors import ConfigurationError, OutputError
from consumer_fleet.inspector.entry import (
    DeliveryResponse,
    Filter,
    KafkaPosition,
    NewEntry,
    Rejection,
)
from consumer_fleet.inspector.store import MAX_BYTES, MAX_ROWS, Store
from tests.support.inspecting import envelope_entry, event_entry, raw_entry

LETTER = Rejection("http_413", "too large", "group", "events", 2, 40)


def numbered(number: int, text: str = "hello", **fields: object) -> NewEntry:
    event_id = f"{number:032x}"
    event = {"message": text, "platform": "python"}
    return event_entry(event, event_id, received_at=float(number), **fields)


def incompressible(number: int, size: int) -> NewEntry:
    """An entry that takes at least ``size`` bytes of the store."""
    item = make_item("attachment", random.Random(number).randbytes(size))
    return envelope_entry(build(f"{number:032x}", [item]), received_at=float(number))


def add(store: Store, number: int) -> None:
    store.add(numbered(number))


def times(store: Store) -> list[float]:
    return [kept.received_at for kept in store.latest(500)]


@pytest.fixture(params=["memory", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "store.db" if request.param == "file" else None


@pytest.fixture
def store(path: Path | None) -> Iterator[Store]:
    store = Store(path, max_rows=3)
    yield store
    store.close()


def test_added_entries_are_read_newest_first(store: Store) -> None:
    add(store, 1)
    raw = b'{}\n{"type":"attachment","length":3}\n\x00\xff\n\n'
    origin = KafkaPosition("events", 3, 2**62, 1_700_000_000_000)
    answers = (
        DeliveryResponse("upstream", 200, "", 2.5),
        DeliveryResponse("saas", None, "refused", 3.5),
    )
    store.add(
        raw_entry(
            raw, received_at=2.5, project="7", origin=origin, answers=answers, dead_letter=LETTER
        )
    )

    newest, oldest = store.latest(10)

    assert (newest.received_at, newest.project, newest.event_id) == (2.5, "7", None)
    assert (newest.item_types, newest.size_bytes) == (("attachment",), len(raw))
    assert (newest.origin, newest.answers, newest.dead_letter) == (origin, answers, LETTER)
    assert store.raw(newest.id) == raw
    assert (oldest.type, oldest.title, oldest.platform) == ("default", "hello", "python")
    assert (oldest.origin, oldest.answers, oldest.dead_letter) == (None, (), None)
    assert store.latest(1) == [newest]
    assert store.get(newest.id) == newest
    assert store.newest_id() == newest.id > oldest.id


def test_an_undecodable_message_keeps_its_bytes_and_reason(store: Store) -> None:
    store.add(NewEntry(b"\x93\x00", None, 1.0, undecodable="invalid_json: no"))
    (entry,) = store.latest(1)
    content = store.content(entry.id)
    assert content is not None
    assert (content.raw, content.undecodable) == (b"\x93\x00", "invalid_json: no")
    assert (entry.type, entry.title, entry.item_types) == ("undecodable", "invalid_json: no", ())


def test_an_event_delivered_twice_is_found_twice(store: Store) -> None:
    for number in (1, 2, 1):
        add(store, number)
    assert [found.event_id for found in store.find(f"{1:032x}")] == [f"{1:032x}"] * 2
    assert store.find("0" * 31 + "9") == []


def test_above_the_row_limit_the_oldest_go_first(store: Store) -> None:
    for number in range(5):
        add(store, number)
    assert times(store) == [4.0, 3.0, 2.0]
    counts = store.counts()
    assert (counts.accepted, counts.kept) == (5, 3)


def test_above_the_byte_limit_the_oldest_go_first(path: Path | None) -> None:
    store = Store(path, max_bytes=30_000)
    for number in range(10):
        store.add(incompressible(number, 5000))
        assert store.counts().kept_bytes <= 30_000
    assert 3 <= store.counts().kept <= 5
    assert times(store) == [9.0 - number for number in range(store.counts().kept)]
    store.close()


def test_the_byte_limit_counts_everything_stored_for_an_entry(path: Path | None) -> None:
    store = Store(path)
    entry = numbered(1)
    store.add(entry)
    plain = store.counts().kept_bytes
    assert plain > len(entry.raw) // 2
    detail = "ä" * 1000
    store.add(numbered(1, answers=(DeliveryResponse("upstream", 400, detail, 1.0),)))
    assert store.counts().kept_bytes - 2 * plain > 2000
    store.close()


def test_an_entry_larger_than_the_store_is_counted_but_not_stored(path: Path | None) -> None:
    store = Store(path, max_bytes=2000)
    add(store, 1)
    before = store.counts()
    store.add(incompressible(2, 2000))
    assert times(store) == [1.0]
    assert store.counts() == before._replace(accepted=2)
    store.close()


def test_an_evicted_entry_has_no_bytes(store: Store) -> None:
    add(store, 1)
    (first,) = store.latest(1)
    for number in range(3):
        add(store, number)
    assert store.raw(first.id) is None
    assert store.get(first.id) is None
    assert store.get(2**80) is None


def test_a_reopened_file_obeys_the_new_limits(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    for number in range(4):
        add(store, number)
    last_id = store.newest_id()
    store.close()

    again = Store(tmp_path / "store.db", max_rows=2)

    assert times(again) == [3.0, 2.0]
    assert again.counts()[:2] == (0, 2)
    sizes = again._db.execute("SELECT kept_bytes FROM entries").fetchall()
    assert again.counts().kept_bytes == sum(size for (size,) in sizes)
    add(again, 4)
    assert again.newest_id() == last_id + 1  # ids are never given twice
    again.close()


def test_only_its_owner_can_read_the_file(tmp_path: Path) -> None:
    Store(tmp_path / "store.db").close()
    assert stat.S_IMODE((tmp_path / "store.db").stat().st_mode) == 0o600


def test_a_file_that_another_process_has_open_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *a, **more: connect(*a, **{**more, "timeout": 0})
    )
    store = Store(tmp_path / "store.db")
    with pytest.raises(ConfigurationError, match="another process has it open"):
        Store(tmp_path / "store.db")
    store.close()
    again = Store(tmp_path / "store.db")
    with pytest.raises(ConfigurationError, match="another process has it open"):
        Store(tmp_path / "store.db")
    again.close()


def test_a_file_of_another_kind_is_refused_and_unchanged(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to have a header of one" * 20)
    with pytest.raises(ConfigurationError, match=r"notes\.txt.*not a database"):
        Store(text)
    foreign = tmp_path / "app.db"
    with sqlite3.connect(foreign) as database:
        database.execute("CREATE TABLE users (name TEXT)")
    database.close()
    with pytest.raises(ConfigurationError, match="another program"):
        Store(foreign)
    with sqlite3.connect(foreign) as database:
        tables = database.execute("SELECT name FROM sqlite_master").fetchall()
    database.close()
    assert tables == [("users",)]
    with pytest.raises(ConfigurationError, match="can't be used"):
        Store(tmp_path / "missing" / "store.db")


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Store(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ConfigurationError, match="version 99"):
        Store(path)


def test_a_store_has_a_unique_id_that_survives_reopening(tmp_path: Path) -> None:
    found = []
    for name in ("a.db", "a.db", "b.db", None, None):
        store = Store(None if name is None else tmp_path / name)
        found.append(store.instance)
        store.close()
    assert found[0] == found[1]
    assert len(set(found)) == 4
    assert all(re.fullmatch("[0-9a-f]{16}", instance) for instance in found)


def test_a_cleared_store_is_another_one(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    add(store, 1)
    before = store.instance
    store.clear()
    cleared = store.instance
    store.close()
    store = Store(tmp_path / "store.db")
    assert (times(store), store.instance) == ([], cleared)
    assert cleared != before
    store.close()


def test_a_file_of_an_earlier_version_gets_an_id(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Store(path)
    add(store, 1)
    store._db.execute("DROP TABLE about")
    store.close()
    store = Store(path)
    assert (times(store), len(store.instance)) == ([1.0], 16)
    store.close()


def damage(path: Path, table: str) -> None:
    """Overwrite the start of a table's first page."""
    with sqlite3.connect(path) as database:
        (page,) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)
        ).fetchone()
    database.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\x99" * 8)


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[Store]:
    """A store with a damaged table of bytes and an intact table of entries."""
    path = tmp_path / "store.db"
    store = Store(path)
    store.add_all([incompressible(number, 3000) for number in range(50)])
    store.close()
    damage(path, "contents")
    store = Store(path)
    yield store
    store.close()


def test_a_damaged_file_is_an_error_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Store(path).close()
    damage(path, "entries")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"store\.db.*malformed"):
            Store(path)


def test_later_damage_is_an_error_each_time_and_changes_no_count(damaged: Store) -> None:
    before = damaged.counts()
    for number in (100, 101):
        with pytest.raises(OutputError, match="malformed"):
            add(damaged, number)
        with pytest.raises(ConfigurationError, match=r"store\.db.*malformed"):
            damaged.content(1)
    assert damaged.counts() == before
    assert len(damaged.latest(100)) == 50


def test_a_bug_while_adding_an_entry_rolls_it_back(store: Store) -> None:
    add(store, 1)
    before = store.counts()
    with pytest.raises(OverflowError):
        store.add_all([numbered(2), replace(numbered(3), received_at=2**70)])
    assert store.counts() == before
    add(store, 3)
    assert times(store) == [3.0, 1.0]


def test_an_entry_that_fills_the_store_evicts_all_others(path: Path | None) -> None:
    store = Store(path, max_bytes=100_000)
    for number in range(20):
        add(store, number)
    store.add(incompressible(20, 99_000))
    assert times(store) == [20.0]
    assert 99_000 < store.counts().kept_bytes <= 100_000
    add(store, 21)
    assert times(store)[0] == 21.0
    store.close()


def test_errors_take_less_than_their_size(path: Path | None) -> None:
    store = Store(path)
    frames = [
        {"function": f"function_{n}", "abs_path": f"/srv/shop/module_{n}.py", "lineno": n,
         "pre_context": [f"    before = {n}"] * 5, "context_line": f"    call_{n}()",
         "post_context": [f"    after = {n}"] * 5, "vars": {"count": str(n), "name": f"'{n:x}'"}}
        for n in range(11)
    ]  # fmt: skip
    value = {"type": "LookupError", "value": "none", "stacktrace": {"frames": frames}}
    entry = event_entry({"exception": {"values": [value]}}, "a" * 32)
    assert 4000 < len(entry.raw) < 5000
    store.add(entry)
    assert store.counts().kept_bytes < MAX_BYTES / MAX_ROWS
    assert store.raw(1) == entry.raw
    store.close()


def test_large_values_are_stored_unchanged(path: Path | None) -> None:
    store = Store(path)
    raw = b'{}\n{"type":"attachment"}\n' + bytes(range(11, 256)) * 10_000
    store.add(raw_entry(raw))
    assert store.raw(store.newest_id()) == raw
    store.close()


def test_an_event_is_found_by_an_id_in_its_payload_only(store: Store) -> None:
    event_id = "9ec79c33ec9942ab8353589fcb2e04dc"
    tags = {f"{n}{'x' * 90}": "y" * 190 for n in range(50)}  # more than a search looks at
    store.add(event_entry({"event_id": event_id.upper(), "tags": tags}))
    (found,) = store.find(event_id)
    assert found.event_id == event_id
    assert store.page(Filter(text=event_id)).total == 1


def test_a_failed_write_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    add(store, 1)
    before = store.counts()
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 2}")  # like a disk that is full
    with pytest.raises(OutputError, match="full"):
        store.add_all([numbered(2), incompressible(3, 50_000)])
    assert store.counts() == before
    assert times(store) == [1.0]
    store._db.execute("PRAGMA max_page_count = 1000000")
    add(store, 4)
    assert times(store) == [4.0, 1.0]
    store.close()


class Failing:
    """A connection whose disk fails at one statement, in the middle of a transaction."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self.fails = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if self.fails and statement.startswith("INSERT INTO contents"):
            raise sqlite3.OperationalError("disk I/O error")
        return self._database.execute(statement, *values)


def test_an_entry_is_never_stored_in_part(store: Store) -> None:
    add(store, 1)
    failing = Failing(store._db)
    store._db = failing  # type: ignore[assignment]  # a stand-in
    with pytest.raises(OutputError, match="disk I/O error"):
        add(store, 2)
    assert times(store) == [1.0]
    failing.fails = False
    add(store, 3)
    assert times(store) == [3.0, 1.0]


def test_evicted_entries_leave_no_bytes_behind(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Store(path, max_bytes=200_000)
    for number in range(200):
        store.add(incompressible(number, 10_000))
    store.close()
    assert path.stat().st_size < 600_000


def test_pages_follow_one_another_without_gaps(path: Path | None) -> None:
    store = Store(path)
    store.add_all([numbered(number) for number in range(25)])
    found, before, pages = [], None, 0
    while True:
        page = store.page(Filter(), before=before, limit=10)
        assert page.total == 25
        found += [entry.received_at for entry in page.events]
        pages += 1
        if page.next is None:
            break
        # Entries added in between do not shift the pages.
        before = page.next
    assert pages == 3
    assert found == [float(number) for number in reversed(range(25))]
    assert store.page(Filter(), limit=25).next is None
    store.close()


def test_newer_entries_come_oldest_first(path: Path | None) -> None:
    store = Store(path)
    for number in range(5):
        add(store, number)
    second = store.latest(5)[3].id
    assert [entry.received_at for entry in store.after(second, 2)] == [2.0, 3.0]
    assert store.after(store.newest_id(), 10) == []
    store.close()


@pytest.fixture
def filled(path: Path | None) -> Iterator[Store]:
    store = Store(path)
    fault = {"exception": {"values": [{"type": "KeyError", "value": "'Ångström'"}]}}
    store.add(event_entry({**fault, "transaction": "/Checkout"}, "a" * 32, received_at=1.0))
    store.add(event_entry({"message": "100% done", "level": "info", "tags": {"region": "north"}}))
    store.add(event_entry({**fault, "level": "fatal"}, dead_letter=LETTER, received_at=3.0))
    store.add(
        event_entry({"message": "x"}, origin=KafkaPosition("ingest-events", 0, 1), received_at=4.0)
    )
    yield store
    store.close()


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        (Filter(), [4.0, 3.0, 1.0, 1.0]),
        (Filter(text="keyerror"), [3.0, 1.0]),
        (Filter(text="ÅNGSTRÖM"), [3.0, 1.0]),
        (Filter(text="KeyError /check"), [1.0]),
        (Filter(text="a" * 32), [1.0]),
        (Filter(text="100%"), [1.0]),
        (Filter(text="_%"), []),
        (Filter(text="region:north"), [1.0]),
        (Filter(text="ingest-"), [4.0]),
        (Filter(text="http_413"), [3.0]),
        (Filter(text="' OR 1=1 --"), []),
        (Filter(type="error"), [3.0, 1.0]),
        (Filter(level="fatal"), [3.0]),
        (Filter(level="error", type="default"), [4.0]),
        (Filter(dead=True), [3.0]),
        (Filter(dead=False), [4.0, 1.0, 1.0]),
        (Filter(text="keyerror", dead=True, level="fatal"), [3.0]),
    ],
)
def test_a_filter_keeps_what_matches(filled: Store, filter_: Filter, expected: list[float]) -> None:
    page = filled.page(filter_)
    assert [entry.received_at for entry in page.events] == expected
    assert page.total == len(expected)


def test_read_origins_exclude_delivered_entries(store: Store) -> None:
    store.add(numbered(1, origin=KafkaPosition("events", 1, 10)))
    store.add(
        numbered(
            2, origin=KafkaPosition("events", 1, 11), answers=(DeliveryResponse("x", 200, "", 1.0),)
        )
    )
    add(store, 3)
    assert store.read_origins() == {("events", 1, 10)}


def test_a_listener_is_called_when_the_entries_can_be_read(store: Store) -> None:
    seen: list[int] = []
    store.on_change(lambda: seen.append(store.counts().accepted))
    add(store, 1)
    store.add_all([numbered(2), numbered(3)])
    assert seen == [1, 3]


def test_threads_that_add_and_read_lose_nothing(path: Path | None) -> None:
    store = Store(path)
    errors: list[Exception] = []

    def work(first: int) -> None:
        try:
            for number in range(first, first + 50):
                add(store, number)
                store.latest(5)
                store.page(Filter(text="hello"), limit=2)
        except Exception as error:  # whatever it is, the assertion below must see it
            errors.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 50, 100, 150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert set(times(store)) == set(map(float, range(200)))
    counts = store.counts()
    assert (counts.accepted, counts.kept) == (200, 200)
    store.close()


def test_exact_filters_choose_by_project_platform_topic_reason_and_item_type() -> None:
    store = Store()
    log = make_item("log", b'{"items":[]}')
    attached = build("a" * 32, [make_item("event", b'{"platform":"go"}'), log])
    store.add(envelope_entry(attached, project="7", origin=KafkaPosition("events", 0, 1)))
    store.add(numbered(2, dead_letter=LETTER, origin=KafkaPosition("events-dlq", 0, 1)))
    store.add(numbered(3))
    for filter_, ids in [
        (Filter(project="7"), [1]),
        (Filter(platform="python"), [3, 2]),
        (Filter(reason="http_413"), [2]),
        (Filter(topic="events"), [2, 1]),
        (Filter(topic="events-dlq"), []),
        (Filter(type="log"), [1]),
        (Filter(type="default"), [3, 2, 1]),
        (Filter(text="hello", project="1"), [3, 2]),
    ]:
        page = store.page(filter_)
        assert ([entry.id for entry in page.events], page.total) == (ids, len(ids)), filter_
    choices = store.choices()
    assert choices["type"] == ["event", "log"]
    assert choices["topic"] == ["events"]
    assert (choices["reason"], choices["project"]) == (["http_413"], ["1", "7"])
    store.close()


def test_events_of_one_cause_are_one_issue() -> None:
    def issue(event: dict[str, Any], project: str = "1") -> str | None:
        store = Store()
        store.add(event_entry(event, project=project))
        (entry,) = store.latest(1)
        store.close()
        return entry.issue

    def error(value: str, function: str = "pay", **more: Any) -> dict[str, Any]:
        frames = [{"module": "shop", "function": function, "in_app": True}]
        values = [{"type": "KeyError", "value": value, "stacktrace": {"frames": frames}}]
        return {"exception": {"values": values}, **more}

    same = issue(error("a"))
    assert same == issue(error("b")) is not None
    assert same not in (issue(error("a", "ship")), issue(error("a"), "2"))
    fixed = issue(error("a", fingerprint=["db"]))
    assert fixed == issue(error("a", "ship", fingerprint=["db"])) != same
    assert issue(error("a", fingerprint=["{{ default }}"])) == same
    assert issue(error("a", fingerprint=["{{ default }}", "db"])) not in (same, fixed)
    assert issue({"type": "transaction"}) is None


def test_a_grouped_list_has_the_newest_entry_of_each_issue() -> None:
    store = Store()
    for message in ("one", "two", "one", "three", "one", "two"):
        store.add(event_entry({"message": message}))
    store.add(event_entry({"type": "transaction"}))
    store.add(event_entry({"type": "transaction"}))
    page = store.page(Filter(), grouped=True, limit=3)
    assert ([entry.id for entry in page.events], page.total) == ([8, 7, 6], 5)
    assert page.repeats == {8: 1, 7: 1, 6: 2}
    rest = store.page(Filter(), grouped=True, before=page.next)
    assert (rest.repeats, rest.next) == ({5: 3, 4: 1}, None)
    found = store.page(Filter(text="one"), grouped=True)
    assert found.repeats == {5: 3}
    store.close()


def test_a_cleared_store_is_empty_and_gives_no_id_twice(path: Path | None) -> None:
    store = Store(path)
    changes: list[int] = []
    store.on_change(lambda: changes.append(1))
    add(store, 1)
    store.clear()
    assert (store.counts().kept, store.counts().kept_bytes, len(changes)) == (0, 0, 2)
    assert store.page(Filter(text="hello")).total == 0
    add(store, 2)
    assert store.newest_id() == 2
    store.close()


def test_a_file_of_version_1_is_searched_like_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Store(path)
    trace = {"trace": {"trace_id": "a" * 32}}
    store.add(event_entry({"message": "hello", "contexts": trace}, received_at=1.0))
    store.add(NewEntry(b"\x00", None, 2.0, origin=KafkaPosition("t", 0, 1), undecodable="no"))
    new = [replace(entry, id=0) for entry in store.latest(2)], store.counts().kept_bytes
    for statement in (
        "DROP TABLE search", "DROP TABLE traces", "DROP INDEX entries_by_issue",
        "ALTER TABLE entries DROP COLUMN issue", "ALTER TABLE entries ADD COLUMN searched TEXT",
        "PRAGMA user_version = 1",
    ):  # fmt: skip
        store._db.execute(statement)
    raw = store.raw(1)
    store._db.execute("UPDATE contents SET raw = ? WHERE id = 1", (raw,))
    store.close()
    store = Store(path)
    assert ([replace(entry, id=0) for entry in store.latest(2)], store.counts().kept_bytes) == new
    assert store.page(Filter(text="hell")).total == 1
    assert store.raw(1) == raw
    assert [entry.received_at for entry in store.of_trace("a" * 32, 9)] == [1.0]
    add(store, 3)
    store.close()


def test_a_file_of_version_2_is_read_without_being_compressed(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Store(path)
    entry = numbered(1, "x" * 1000)
    store.add(entry)
    store._db.execute("UPDATE contents SET raw = ?", (entry.raw,))
    store._db.execute("PRAGMA user_version = 2")
    store.close()
    store = Store(path)
    store.add(numbered(2, "y" * 1000))
    assert store.raw(1) == entry.raw
    assert store.raw(2) == numbered(2, "y" * 1000).raw
    store.close()
