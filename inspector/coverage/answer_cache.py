"""Keeps answers, and lets who asks for the same at the same time wait for one answer."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from time import monotonic
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Kept(NamedTuple, Generic[T]):
    """An answer, and for how long it is good; ``inf`` for ever, 0 for those who wait already."""

    value: T
    keep_s: float


class AnswerCache(Generic[T]):
    """At most ``max_answers``; the least recently used one goes first. Threads may share it."""

    def __init__(self, max_answers: int, clock: Callable[[], float] = monotonic) -> None:
        self._max_answers = max_answers
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[T, float]] = OrderedDict()
        self._awaited: dict[Hashable, Future[T]] = {}

    def get(self, key: Hashable, fetch: Callable[[], Kept[T]]) -> T:
        """The kept answer, or ``fetch``'s. Blocks while ``fetch`` runs, here or elsewhere.

        What ``fetch`` raises, all who wait for it get; nothing is kept then.
        """
        with self._lock:
            known = self._kept.get(key)
            if known is not None and self._clock() < known[1]:
                self._kept.move_to_end(key)
                return known[0]
            awaited = self._awaited.get(key)
            if awaited is None:
                mine: Future[T] = Future()
                self._awaited[key] = mine
        if awaited is not None:
            return awaited.result()
        try:
            value, keep_s = fetch()
        except BaseException as error:
            with self._lock:
                del self._awaited[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._awaited[key]
            self._keep(key, value, keep_s)
        mine.set_result(value)
        return value

    def _keep(self, key: Hashable, value: T, keep_s: float) -> None:
        self._kept[key] = (value, self._clock() + keep_s)
        self._kept.move_to_end(key)
        if len(self._kept) > self._max_answers:
            self._kept.popitem(last=False)
