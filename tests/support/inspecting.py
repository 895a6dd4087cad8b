"""Sample entries, and an HTTP client for an inspector."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from consumer_fleet.capture.envelope import Envelope, build, make_item, parse
from consumer_fleet.inspector.entry import NewEntry
from consumer_fleet.inspector.feeder import as_bytes
from consumer_fleet.inspector.receiver import Receiver


def event_entry(event: Mapping[str, Any], event_id: str | None = None, **fields: Any) -> NewEntry:
    """An envelope with one event; ``received_at`` is 1.0 unless a field says otherwise."""
    item = make_item("event", json.dumps(event).encode())
    return envelope_entry(build(event_id, [item]), **fields)


def envelope_entry(envelope: Envelope, **fields: Any) -> NewEntry:
    return NewEntry(as_bytes(envelope), envelope, **{"received_at": 1.0, "project": "1", **fields})


def raw_entry(raw: bytes, **fields: Any) -> NewEntry:
    return NewEntry(raw, parse(raw), **{"received_at": 1.0, "project": "1", **fields})


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def get(receiver: Receiver, path: str, headers: Mapping[str, str] | None = None) -> Answer:
    return request(receiver, "GET", path, None, headers or {})


def request(
    receiver: Receiver, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", receiver.dsn.port, timeout=10)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


class StreamReader:
    """Follows ``/api/stream``: collects entries in a thread once connected."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self.entries: list[dict[str, Any]] = []
        self.ids: list[int] = []
        self.comments: list[str] = []
        self.has_ended = threading.Event()
        self.arrived = threading.Condition()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.request("GET", "/api/stream", headers=dict(headers))
        self.response = self._connection.getresponse()
        assert self.response.status == 200, self.response.read()
        assert self.response.readline() == b"event: store\n"
        self.store = json.loads(self.response.readline().removeprefix(b"data: "))
        self._event = "store"
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for(self, count: int, timeout_s: float = 10) -> list[dict[str, Any]]:
        """Block until this many entries have arrived."""
        with self.arrived:
            came = self.arrived.wait_for(lambda: len(self.entries) >= count, timeout_s)
        assert came, f"{len(self.entries)} of {count} entries came within {timeout_s:g} s"
        return self.entries

    def close(self) -> None:
        if self.response.fp is not None and self._connection.sock is not None:
            self._connection.sock.shutdown(2)
        self._thread.join(10)
        self._connection.close()

    def _read(self) -> None:
        try:
            while line := self.response.readline():
                self._take(line.decode().rstrip("\n"))
        except (OSError, ValueError, http.client.HTTPException):
            pass  # closed here, or there
        self.has_ended.set()

    def _take(self, line: str) -> None:
        name, _, value = line.partition(": ")
        with self.arrived:
            if line.startswith(":"):
                self.comments.append(line)
            elif name == "id":
                store, _, number = value.partition("-")
                assert store == self.store
                self.ids.append(int(number))
            elif name == "event":
                self._event = value
            elif name == "data" and self._event == "store":
                self.store = json.loads(value)
            elif name == "data":
                self.entries.append(json.loads(value))
            self.arrived.notify_all()


@contextmanager
def following(
    receiver: Receiver, headers: Mapping[str, str] | None = None
) -> Iterator[StreamReader]:
    reader = StreamReader(receiver.dsn.port, headers or {})
    try:
        yield reader
    finally:
        reader.close()
