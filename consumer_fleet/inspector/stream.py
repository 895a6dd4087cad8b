"""``GET /api/stream``: new entries as server-sent events, resuming where a browser left off."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Sequence
from typing import Final

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from consumer_fleet.errors import ConfigurationError
from consumer_fleet.inspector.entry import Summary
from consumer_fleet.inspector.store import Store

log = structlog.get_logger(__name__)

KEEP_ALIVE_S: Final = 15.0
# Bursts are sent in batches: no page could draw the entries one by one.
_BATCH: Final = 100
_BATCH_INTERVAL_S: Final = 0.05
_STREAMS: Final = 50
# An entry's id, optionally preceded by its store's.
_LAST_ID: Final = re.compile(r"(?:([0-9a-f]+)-)?([0-9]{1,19})")
_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class Changes:
    """Wakes the streams of one event loop when the store changes, from any thread."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wakers: set[asyncio.Event] = set()
        store.on_change(self._notify)

    def close(self) -> None:
        """End all streams. May be called from any thread."""
        self.closed = True
        self._notify()

    @property
    def follower_count(self) -> int:
        return len(self._wakers)

    def join(self) -> asyncio.Event:
        """Return an event that is set at each change. Call it in the loop's thread."""
        self._loop = asyncio.get_running_loop()
        waker = asyncio.Event()
        self._wakers.add(waker)
        return waker

    def leave(self, waker: asyncio.Event) -> None:
        self._wakers.discard(waker)

    def _notify(self) -> None:
        if self._wakers and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop and its streams have ended
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for waker in self._wakers:
            waker.set()


class EventStream(Response):
    """Reads unsent entries from the store: a slow client costs no memory.

    A socket timeout closes the connection of a client that does not read; its browser connects
    again with the id of the last entry.
    """

    def __init__(self, changes: Changes, last_id: int) -> None:
        super().__init__()
        self._changes = changes
        self._last_id = last_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        store = self._changes.store
        waker = self._changes.join()
        gone = asyncio.ensure_future(_disconnected(receive))
        gone.add_done_callback(lambda _: waker.set())
        try:
            named = None
            while not gone.done() and not self._changes.closed:
                waker.clear()
                found = store.after(self._last_id, _BATCH)
                # Sent at once: the browser learns that it is connected, and to which store. And
                # when the store was cleared: what the browser shows is gone.
                if named != store.instance:
                    named = store.instance
                    await _send(send, b'event: store\ndata: "%b"\n\n' % named.encode())
                if found:
                    await _send(send, _as_events(named, found))
                    self._last_id = found[-1].id
                    await asyncio.sleep(_BATCH_INTERVAL_S)
                elif not await _is_set_within(waker, KEEP_ALIVE_S):
                    await _send(send, b": keep-alive\n\n")
        except ConfigurationError as error:
            log.error("inspector_store_failed", error=str(error))
        finally:
            self._changes.leave(waker)
            gone.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class StreamEndpoint:
    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def get(self, request: Request) -> Response:
        if self._changes.follower_count >= _STREAMS:
            return JSONResponse({"detail": f"too many open pages: the limit is {_STREAMS}"}, 503)
        return EventStream(self._changes, self._start(request))

    def _start(self, request: Request) -> int:
        """The entry to start after: the client's last one, else the newest."""
        store = self._changes.store
        newest = store.newest_id()
        given = _LAST_ID.fullmatch(request.headers.get("last-event-id", ""))
        if given is None:
            return newest
        last_id = int(given[2])
        # The id is of another store, such as one of an earlier run: send everything.
        is_foreign = given[1] not in (None, store.instance) or last_id > newest
        return 0 if is_foreign else last_id


def _as_events(instance: str, entries: Sequence[Summary]) -> bytes:
    # orjson writes no line breaks: one data line is enough.
    return b"".join(
        b"id: %b-%d\nevent: entry\ndata: %b\n\n"
        % (instance.encode(), entry.id, orjson.dumps(entry))
        for entry in entries
    )


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _is_set_within(waker: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await waker.wait()
    except TimeoutError:
        return False
    return True
