"""The cache of answers: one fetch for concurrent and repeated requests."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from math import inf

import pytest

from consumer_fleet.inspector.coverage.codecov import AnswerCache, Fetched

WAIT_S = 10.0


class Source:
    """Counts what is fetched."""

    def __init__(self, keep_s: float = inf) -> None:
        self.fetched: list[str] = []
        self._keep_s = keep_s

    def fetch(self, key: str) -> Fetched[str]:
        self.fetched.append(key)
        return Fetched(f"{key}{len(self.fetched)}", self._keep_s)


def get(cache: AnswerCache[str], source: Source, key: str) -> str:
    return cache.get(key, lambda: source.fetch(key))


def test_an_answer_is_fetched_once_for_each_key() -> None:
    cache: AnswerCache[str] = AnswerCache(10)
    source = Source()
    assert [get(cache, source, key) for key in "abab"] == ["a1", "b2", "a1", "b2"]


def test_an_expired_answer_is_fetched_again() -> None:
    now = [0.0]
    cache: AnswerCache[str] = AnswerCache(10, lambda: now[0])
    source = Source(keep_s=5)
    answers = []
    for now[0] in (0.0, 4.9, 5.0, 9.9, 10.0):
        answers.append(get(cache, source, "a"))
    assert answers == ["a1", "a1", "a2", "a2", "a3"]


def test_the_least_recently_used_answer_goes_first() -> None:
    cache: AnswerCache[str] = AnswerCache(2)
    source = Source()
    for key in "abac":  # c evicts b: a was used since
        get(cache, source, key)
    assert source.fetched == ["a", "b", "c"]
    get(cache, source, "a")
    assert source.fetched == ["a", "b", "c"]
    get(cache, source, "b")
    assert source.fetched == ["a", "b", "c", "b"]


def test_concurrent_requests_wait_for_the_same_answer() -> None:
    cache: AnswerCache[str] = AnswerCache(10)
    source = Source()
    fetching, go_on = threading.Event(), threading.Event()

    def slow() -> Fetched[str]:
        fetching.set()
        assert go_on.wait(WAIT_S)
        return source.fetch("a")

    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(cache.get, "a", slow)
        assert fetching.wait(WAIT_S)
        others = [pool.submit(get, cache, source, "a") for _ in range(8)]
        # Another key does not wait.
        assert get(cache, Source(), "b") == "b1"
        assert not any(other.done() for other in others)
        go_on.set()
        answers = [future.result(WAIT_S) for future in (first, *others)]
    assert answers == ["a1"] * 9
    assert source.fetched == ["a"]


def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    cache: AnswerCache[str] = AnswerCache(10)
    fetching, go_on = threading.Event(), threading.Event()

    def fail() -> Fetched[str]:
        fetching.set()
        assert go_on.wait(WAIT_S)
        raise ConnectionError

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cache.get, "a", fail)
        assert fetching.wait(WAIT_S)
        go_on.set()
        with pytest.raises(ConnectionError):
            first.result(WAIT_S)
    assert get(cache, Source(), "a") == "a1"
