"""The context of delegated calls: their request and active backends."""

from __future__ import annotations

import asyncio
import threading

import pytest

from consumer_fleet.inspector.services import (
    Context,
    ServiceInterface,
    active_context,
    ambient_request,
    current_context,
    entered_context,
)


class Shelf(ServiceInterface):
    """Any interface."""


def test_a_copy_shares_the_request_and_has_its_own_backends() -> None:
    request = object()
    backend = Shelf()
    context = Context(request, {Shelf: backend})
    copy = context.copy()
    assert copy.request is request
    assert copy.backends == {Shelf: backend}
    assert copy.backends[Shelf] is backend  # shallow: the backends themselves are the same
    copy.backends[ServiceInterface] = backend
    assert context.backends == {Shelf: backend}


def test_outside_a_call_the_ambient_request_gets_a_new_context() -> None:
    assert current_context() is None
    assert entered_context().request is None
    with ambient_request("outer"):
        with ambient_request("inner"):
            assert entered_context().request == "inner"
        entered = entered_context()
        assert entered.request == "outer"
        assert entered.backends == {}
    assert entered_context().request is None


def test_within_a_call_the_calls_context_is_used_despite_an_ambient_request() -> None:
    context = Context("call", {})
    with active_context(context), ambient_request("ambient"):
        assert entered_context() is context


def test_the_previous_context_is_restored_even_after_an_error() -> None:
    outer, inner = Context(1, {}), Context(2, {})
    with active_context(outer):
        with pytest.raises(RuntimeError), active_context(inner):
            raise RuntimeError
        assert current_context() is outer
    assert current_context() is None


def test_another_thread_has_neither_the_context_nor_the_request() -> None:
    seen: list[object] = []

    def look() -> None:
        seen.extend((current_context(), entered_context().request))

    with active_context(Context(1, {})), ambient_request("mine"):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert seen == [None, None]


def test_asyncio_passes_the_request_to_its_threads_and_keeps_tasks_separate() -> None:
    async def ask(name: str) -> object:
        with ambient_request(name):
            await asyncio.sleep(0)
            return await asyncio.to_thread(lambda: entered_context().request)

    async def main() -> list[object]:
        return list(await asyncio.gather(*(ask(str(number)) for number in range(20))))

    assert asyncio.run(main()) == [str(number) for number in range(20)]
