"""The stream of new entries: immediate, without gaps, never waiting for a client."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest
import sentry_sdk
from sentry_sdk.utils import event_from_exception
from structlog.testing import capture_logs

from consumer_fleet.errors import ConfigurationError
from consumer_fleet.inspector import server, stream
from consumer_fleet.inspector.receiver import Receiver
from consumer_fleet.inspector.store import Store
from tests.support.inspecting import event_entry, following, get, request
from tests.support.processes import wait_until


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.close()


@pytest.fixture
def receiver(store: Store) -> Iterator[Receiver]:
    with Receiver(store) as receiver:
        yield receiver


def add(store: Store, *numbers: int) -> None:
    store.add_all([event_entry({"message": f"number {number}"}) for number in numbers])


def titles(entries: list[dict[str, object]]) -> list[str]:
    return [str(entry["title"]) for entry in entries]


def test_a_new_entry_is_sent_as_a_summary(receiver: Receiver) -> None:
    add(receiver.store, 1)
    with following(receiver) as reader:
        assert reader.response.headers["Content-Type"].startswith("text/event-stream")
        assert reader.response.headers["Cache-Control"] == "no-store"
        add(receiver.store, 2)
        (entry,) = reader.wait_for(1)
        assert entry == get(receiver, "/api/events").json["events"][0]
        assert reader.ids == [entry["id"]]


@pytest.mark.timed
def test_an_error_of_the_sdk_shows_within_a_second() -> None:
    with Receiver() as receiver, following(receiver) as reader:
        client = sentry_sdk.Client(str(receiver.dsn), default_integrations=False)
        started = time.monotonic()
        try:
            raise ValueError("from the SDK")
        except ValueError as error:
            event, hint = event_from_exception(error, client_options=client.options)
            event_id = client.capture_event(event, hint)
        (entry,) = reader.wait_for(1, timeout_s=5)
        took_s = time.monotonic() - started
        client.close(timeout=10)
    assert entry["event_id"] == event_id
    assert entry["title"] == "ValueError: from the SDK"
    assert entry["type"] == "error"
    assert entry["answers"][0]["destination"] == "inspector"
    assert took_s < 1.0


def test_a_client_resumes_after_its_last_entry(receiver: Receiver) -> None:
    add(receiver.store, 1, 2)
    seen = receiver.store.latest(2)[1].id
    add(receiver.store, 3)
    with following(receiver, {"Last-Event-ID": str(seen)}) as reader:
        reader.wait_for(2)
        add(receiver.store, 4)
        assert titles(reader.wait_for(3)) == ["number 2", "number 3", "number 4"]


@pytest.mark.parametrize("last_id", ["", "x", "-1", "x-1", "9" * 30, "1.5"])
def test_an_invalid_last_id_starts_at_the_newest(receiver: Receiver, last_id: str) -> None:
    add(receiver.store, 1)
    with following(receiver, {"Last-Event-ID": last_id}) as reader:
        add(receiver.store, 2)
        assert titles(reader.wait_for(1)) == ["number 2"]


def test_a_last_id_of_an_earlier_server_sends_all_entries(receiver: Receiver) -> None:
    add(receiver.store, 1, 2)
    with following(receiver, {"Last-Event-ID": "4711"}) as reader:
        assert titles(reader.wait_for(2)) == ["number 1", "number 2"]


def test_a_stream_begins_with_its_store(receiver: Receiver) -> None:
    with following(receiver) as reader:
        assert reader.store == receiver.store.instance
    for path in ("/api/status", "/api/events"):
        assert get(receiver, path).json["store"] == receiver.store.instance


def test_a_stream_names_the_store_again_when_it_is_cleared(receiver: Receiver) -> None:
    add(receiver.store, 1)
    with following(receiver) as reader:
        before = reader.store
        receiver.store.clear()
        add(receiver.store, 2)
        assert titles(reader.wait_for(1)) == ["number 2"]
        assert before != reader.store == receiver.store.instance


def test_only_an_id_of_this_store_resumes_a_stream(receiver: Receiver) -> None:
    add(receiver.store, 1, 2)
    seen = receiver.store.latest(2)[1].id
    own, other = f"{receiver.store.instance}-{seen}", f"{'0' * 16}-{seen}"
    with following(receiver, {"Last-Event-ID": own}) as reader:
        assert titles(reader.wait_for(1)) == ["number 2"]
    with following(receiver, {"Last-Event-ID": other}) as reader:
        assert titles(reader.wait_for(2)) == ["number 1", "number 2"]


def test_an_unreadable_store_ends_the_stream(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ConfigurationError("the store is damaged")

    with capture_logs() as logs, following(receiver) as reader:
        monkeypatch.setattr(receiver.store, "after", fail)
        add(receiver.store, 1)
        assert reader.has_ended.wait(10)
    assert [line["event"] for line in logs] == ["inspector_store_failed"]


def test_a_head_request_does_not_follow(receiver: Receiver) -> None:
    assert request(receiver, "HEAD", "/api/stream", None, {}).status == 200
    assert receiver._changes.follower_count == 0


def test_a_burst_arrives_completely_and_in_order(receiver: Receiver) -> None:
    with following(receiver) as first, following(receiver) as second:
        for start in range(0, 1000, 50):
            add(receiver.store, *range(start, start + 50))
        for reader in (first, second):
            assert titles(reader.wait_for(1000)) == [f"number {n}" for n in range(1000)]
            assert reader.ids == sorted(set(reader.ids))


def test_an_idle_stream_sends_keep_alives(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.1)
    with following(receiver) as reader:
        wait_until(lambda: len(reader.comments) >= 2, timeout_s=10, what="two signs of life")
        assert set(reader.comments) == {": keep-alive"}
        assert reader.entries == []


def test_a_disconnected_client_is_removed(receiver: Receiver) -> None:
    changes = receiver._changes
    with following(receiver), following(receiver):
        wait_until(lambda: changes.follower_count == 2, timeout_s=10, what="two followers")
    wait_until(lambda: changes.follower_count == 0, timeout_s=10, what="none")


def unread_client(receiver: Receiver) -> socket.socket:
    """Requests the stream with a small window, and never reads it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", receiver.dsn.port))
    client.sendall(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 1\r\n\r\n")
    return client


def test_a_client_that_does_not_read_is_dropped_and_blocks_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    joined: list[stream.Changes] = []

    def join(changes: stream.Changes) -> asyncio.Event:
        joined.append(changes)
        return real_join(changes)

    real_join = stream.Changes.join
    monkeypatch.setattr(stream.Changes, "join", join)
    monkeypatch.setattr(server, "_UNREAD_TIMEOUT_S", 1.0)
    store = Store()
    # More than the kernel's buffers hold.
    text = "x" * 150
    store.add_all([event_entry({"message": f"{text}{n}"}) for n in range(10_000)])
    with Receiver(store) as receiver, unread_client(receiver):
        wait_until(lambda: len(joined) == 1, timeout_s=10, what="the follower")
        with following(receiver) as reader:
            add(store, 1)
            reader.wait_for(1)
        changes = receiver._changes
        wait_until(lambda: changes.follower_count == 0, timeout_s=30, what="the drop")
    store.close()


def test_too_many_streams_are_refused(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_STREAMS", 1)
    with following(receiver):
        answer = get(receiver, "/api/stream")
        assert answer.status == 503
        assert "detail" in answer.json


@pytest.mark.timed
def test_a_stop_ends_the_streams_at_once(store: Store) -> None:
    receiver = Receiver(store)
    receiver.start()
    with following(receiver) as reader:
        started = time.monotonic()
        receiver.stop()
        assert reader.has_ended.wait(5)
        # Less than uvicorn's timeout for unfinished requests.
        assert time.monotonic() - started < 1.5
    add(store, 1)  # nobody listens any more, and nothing breaks
