"""The inspector's store: bounded, ordered, and safe to use from threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspector.store import Counts, Store


def add(store: Store, number: int, raw: bytes = b"{}") -> None:
    store.add(
        raw,
        received_at=float(number),
        project="1",
        event_id=f"{number:032x}",
        item_types=["event", "attachment"],
    )


@pytest.fixture(params=["memory", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "store.db" if request.param == "file" else None


@pytest.fixture
def store(path: Path | None) -> Iterator[Store]:
    store = Store(path, max_rows=3, max_bytes=100)
    yield store
    store.close()


def test_what_was_added_is_read_back_newest_first(store: Store) -> None:
    raw = b'{"event_id":"x"}\n\x00\xff'
    add(store, 1)
    store.add(raw, received_at=2.5, project="7", event_id=None, item_types=[])

    newest, oldest = store.latest(10)

    assert (newest.received_at, newest.project, newest.event_id) == (2.5, "7", None)
    assert (newest.item_types, newest.size_bytes) == ((), len(raw))
    assert store.raw(newest.id) == raw
    assert oldest.item_types == ("event", "attachment")
    assert store.latest(1) == [newest]


def test_an_event_delivered_twice_is_found_twice(store: Store) -> None:
    for number in (1, 2, 1):
        add(store, number)
    assert [found.event_id for found in store.find(f"{1:032x}")] == [f"{1:032x}"] * 2
    assert store.find("0" * 31 + "9") == []


def test_above_the_row_limit_the_oldest_go_first(store: Store) -> None:
    for number in range(5):
        add(store, number)
    assert [kept.received_at for kept in store.latest(10)] == [4.0, 3.0, 2.0]
    assert store.counts() == Counts(accepted=5, kept=3, kept_bytes=6)


def test_above_the_byte_limit_the_oldest_go_first(store: Store) -> None:
    for number in range(3):
        add(store, number, b"x" * 50)
    assert [kept.received_at for kept in store.latest(10)] == [2.0, 1.0]
    assert store.counts() == Counts(accepted=3, kept=2, kept_bytes=100)


def test_an_envelope_larger_than_the_store_is_counted_and_not_kept(store: Store) -> None:
    add(store, 1, b"x" * 101)
    assert store.latest(10) == []
    assert store.counts() == Counts(accepted=1, kept=0, kept_bytes=0)


def test_an_envelope_that_is_gone_has_no_bytes(store: Store) -> None:
    add(store, 1)
    (first,) = store.latest(1)
    for number in range(3):
        add(store, number)
    assert store.raw(first.id) is None


def test_a_file_is_read_again_and_obeys_the_limits_of_now(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    for number in range(4):
        add(store, number)
    store.close()

    again = Store(tmp_path / "store.db", max_rows=2)

    assert [kept.received_at for kept in again.latest(10)] == [3.0, 2.0]
    assert again.counts() == Counts(accepted=0, kept=2, kept_bytes=4)
    again.close()


def test_threads_that_add_and_read_lose_nothing(path: Path | None) -> None:
    store = Store(path)
    errors: list[Exception] = []

    def work(first: int) -> None:
        try:
            for number in range(first, first + 50):
                add(store, number)
                store.latest(5)
        except Exception as error:  # whatever it is, the assertion below must see it
            errors.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 50, 100, 150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert {kept.received_at for kept in store.latest(500)} == set(map(float, range(200)))
    assert store.counts() == Counts(accepted=200, kept=200, kept_bytes=400)
    store.close()
