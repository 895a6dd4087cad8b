"""Runs what may block beside the event loop, until the server stops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.exceptions import HTTPException

_Result = TypeVar("_Result")


class Threads:
    """So many calls of one kind at a time. More wait, and take no thread from the other kinds."""

    def __init__(self, calls: int) -> None:
        self._limiter = CapacityLimiter(calls)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Future[Any]] = set()
        self._closed = False

    async def run(self, function: Callable[[], _Result]) -> _Result:
        """In the request's context. Raises HTTPException (503) once it is closed."""
        self._loop = asyncio.get_running_loop()
        call = asyncio.ensure_future(
            to_thread.run_sync(function, limiter=self._limiter, abandon_on_cancel=True)
        )
        self._waiting.add(call)
        if self._closed:
            call.cancel()
        try:
            return await call
        except asyncio.CancelledError:
            if not self._closed:
                raise
            raise HTTPException(503, "the inspector stops") from None
        finally:
            self._waiting.discard(call)

    def close(self) -> None:
        """Wait for no call any more, from whatever thread. Those under way end by themselves."""
        self._closed = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and all calls with it
                self._loop.call_soon_threadsafe(self._give_up)

    def _give_up(self) -> None:
        for call in self._waiting:
            call.cancel()
