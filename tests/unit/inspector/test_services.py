"""One interface over several backends: selection, order, results and errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

import pytest
from structlog.testing import capture_logs

from consumer_fleet.inspector.executors import (
    Executor,
    ExecutorClosed,
    Priority,
    QueueFull,
    SynchronousExecutor,
    ThreadedExecutor,
)
from consumer_fleet.inspector.services import (
    CallReport,
    CallTimings,
    Context,
    InvalidBackend,
    ServiceBackend,
    ServiceDelegator,
    ServiceInterface,
    Timing,
    ambient_request,
    current_context,
    note_timings,
)
from tests.support.clock import ManualClock

T = TypeVar("T")
WAIT_S = 10.0


class Library(ServiceInterface):
    """The interface of these tests."""

    interface = ("fetch", "shelves")
    shelves = 3
    hidden = "not declared"

    def fetch(self, title: str, copies: int = 1) -> Any:
        raise NotImplementedError

    def undeclared(self) -> str:
        raise NotImplementedError


class Town(Library):
    """A backend with a given answer, which records its contexts."""

    def __init__(self, answer: Callable[[str, int], Any] | None = None) -> None:
        self._answer = answer or (lambda title, copies: (title, copies))
        self.contexts: list[Context | None] = []
        self.closed = False

    def fetch(self, title: str, copies: int = 1) -> Any:
        self.contexts.append(current_context())
        return self._answer(title, copies)

    def undeclared(self) -> str:
        return "undeclared"

    def close(self) -> None:
        self.closed = True


class Order:
    """An executor that records submitted tasks and runs them at once."""

    def __init__(self, name: str, log: list[tuple[str, Priority, bool]]) -> None:
        self._name = name
        self._log = log

    def submit(self, task: Callable[[], T], priority: Priority, *, block: bool) -> Future[T]:
        self._log.append((self._name, priority, block))
        return SynchronousExecutor().submit(task, priority, block=block)

    def close(self) -> None:
        pass


def names(*chosen: str) -> Callable[[Context, str, Mapping[str, Any]], Sequence[str]]:
    return lambda _context, _method, _arguments: chosen


def delegate(
    backends: Mapping[str, Library], *chosen: str, callback: Any = None
) -> ServiceDelegator:
    bound = {
        name: ServiceBackend(library, SynchronousExecutor()) for name, library in backends.items()
    }
    return ServiceDelegator(Library, bound, names(*chosen), callback)


@contextmanager
def threaded(workers: int = 1, queue_length: int = 10) -> Iterator[ThreadedExecutor]:
    executor = ThreadedExecutor(workers, queue_length, name="test")
    yield executor
    executor.close()


class Gate:
    """A backend's answer that waits until the test opens the gate."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()

    def __call__(self, title: str, _copies: int) -> str:
        self.entered.release()
        assert self.opened.wait(WAIT_S)
        return title

    def await_entry(self) -> None:
        assert self.entered.acquire(timeout=WAIT_S)


# -- what is delegated ----------------------------------------------------------------------------


def test_a_call_returns_what_the_primary_returns() -> None:
    delegator = delegate({"a": Town(lambda *_: "a"), "b": Town(lambda *_: "b")}, "b", "a")
    assert delegator.fetch("Emma") == "b"


def test_only_what_the_interface_declares_can_be_reached() -> None:
    delegator = delegate({"a": Town()}, "a")
    for name in ("hidden", "undeclared", "contexts", "__len__"):
        with pytest.raises(AttributeError, match=name):
            getattr(delegator, name)


def test_a_declared_member_that_is_not_a_routine_comes_from_the_base() -> None:
    town = Town()
    town.shelves = 99
    assert delegate({"a": town}, "a").shelves == 3


def test_an_interface_that_lists_a_missing_member_is_refused() -> None:
    class Misspelt(ServiceInterface):
        interface = ("fetsch",)

    with pytest.raises(TypeError, match="fetsch"):
        ServiceDelegator(Misspelt, {}, names("a"))


def test_every_kind_of_routine_is_delegated_with_its_arguments_by_name() -> None:
    class Kinds(ServiceInterface):
        interface = ("plain", "static", "of_class", "builtin")
        builtin = dict.get  # its signature is known, although it is not written in Python

        def plain(self, title: str) -> str:
            raise NotImplementedError

        @staticmethod
        def static(title: str) -> str:
            raise NotImplementedError

        @classmethod
        def of_class(cls, title: str) -> str:
            raise NotImplementedError

    class Backend(Kinds):
        def plain(self, title: str) -> str:
            return f"plain {title}"

        @staticmethod
        def static(title: str) -> str:
            return f"static {title}"

        @classmethod
        def of_class(cls, title: str) -> str:
            return f"of_class {title}"

        def builtin(self, key: str, default: str = "") -> str:  # type: ignore[override]
            return f"builtin {key}"

    seen: list[Mapping[str, Any]] = []

    def select(_context: Context, _method: str, arguments: Mapping[str, Any]) -> list[str]:
        seen.append(arguments)
        return ["a"]

    delegator: Any = ServiceDelegator(
        Kinds, {"a": ServiceBackend(Backend(), SynchronousExecutor())}, select
    )
    for name in ("plain", "static", "of_class"):
        assert getattr(delegator, name)("Emma") == f"{name} Emma"
    assert delegator.builtin("Emma") == "builtin Emma"
    assert seen == [{"title": "Emma"}] * 3 + [{"key": "Emma", "default": None}]


class Coroutine(Library):
    async def fetch(self, title: str, copies: int = 1) -> Any:
        return title


class Generator(Library):
    def fetch(self, title: str, copies: int = 1) -> Any:
        yield title


class AsyncGenerator(Library):
    async def fetch(self, title: str, copies: int = 1) -> Any:
        yield title


@pytest.mark.parametrize(
    ("backend", "kind"),
    [
        (Coroutine(), "a coroutine function"),
        (Generator(), "a generator"),
        (AsyncGenerator(), "an async generator"),
    ],
)
def test_a_backend_whose_call_only_promises_the_work_is_refused(
    backend: Library, kind: str
) -> None:
    with pytest.raises(TypeError, match=f"backend 'a': .*fetch is {kind}"):
        delegate({"a": backend}, "a")


# -- the selector ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda library: library.fetch("Emma", 2),
        lambda library: library.fetch("Emma", copies=2),
        lambda library: library.fetch(copies=2, title="Emma"),
    ],
)
def test_the_selector_sees_all_arguments_by_name(
    call: Callable[[Any], object],
) -> None:
    seen: list[tuple[object, str, Mapping[str, Any]]] = []

    def select(context: Context, method: str, arguments: Mapping[str, Any]) -> list[str]:
        seen.append((context.request, method, arguments))
        return ["a"]

    delegator = ServiceDelegator(
        Library, {"a": ServiceBackend(Town(), SynchronousExecutor())}, select
    )
    with ambient_request("request"):
        assert call(delegator) == ("Emma", 2)
    assert seen == [("request", "fetch", {"title": "Emma", "copies": 2})]


def test_the_selector_sees_defaults() -> None:
    seen: list[Mapping[str, Any]] = []

    def select(_context: Context, _method: str, arguments: Mapping[str, Any]) -> list[str]:
        seen.append(arguments)
        return ["a"]

    backends = {"a": ServiceBackend(Town(), SynchronousExecutor())}
    ServiceDelegator(Library, backends, select).fetch("Emma")
    assert seen == [{"title": "Emma", "copies": 1}]


def test_invalid_arguments_fail_before_the_selection() -> None:
    delegator = ServiceDelegator(Library, {}, lambda *_: pytest.fail("was selected"))
    with pytest.raises(TypeError, match="pages"):
        delegator.fetch("Emma", pages=3)


@pytest.mark.parametrize("chosen", [(), ("unknown", "a"), ("unknown",)])
def test_an_empty_selection_or_an_unknown_primary_fails_before_any_work_is_queued(
    chosen: tuple[str, ...],
) -> None:
    town = Town()
    delegator = delegate({"a": town}, *chosen, callback=lambda _report: pytest.fail("reported"))
    with pytest.raises(InvalidBackend):
        delegator.fetch("Emma")
    assert town.contexts == []


def test_an_unknown_secondary_is_a_warning_and_has_no_result() -> None:
    reports: list[CallReport] = []
    delegator = delegate({"a": Town()}, "a", "unknown", callback=reports.append)
    with capture_logs() as logs:
        assert delegator.fetch("Emma") == ("Emma", 1)
    assert [(entry["event"], entry["log_level"], entry["backend"]) for entry in logs] == [
        ("service_backend_unknown", "warning", "unknown")
    ]
    assert reports[0].names == ["a", "unknown"]
    assert reports[0].futures[1] is None
    assert reports[0].timings[1] is None


# -- context and re-entrancy ----------------------------------------------------------------------


def test_each_backend_has_its_own_context_with_itself_active() -> None:
    request = object()
    towns = {name: Town() for name in "abc"}
    reports: list[CallReport] = []
    delegator = delegate(towns, "a", "b", "c", callback=reports.append)
    with ambient_request(request):
        delegator.fetch("Emma")
    contexts = [town.contexts[0] for town in towns.values()]
    assert len({id(context) for context in contexts}) == 3
    for town, context in zip(towns.values(), contexts, strict=True):
        assert context is not None
        assert context.request is request
        assert context.backends == {Library: town}
    # The caller's context has no active backend.
    assert reports[0].context.backends == {}
    assert reports[0].context.request is request


def test_a_call_from_within_a_backend_goes_straight_to_that_backend() -> None:
    selections = []

    def select(_context: Context, _method: str, arguments: Mapping[str, Any]) -> list[str]:
        selections.append(arguments["title"])
        return ["a", "b"]

    threads = []

    def again(title: str, copies: int) -> Any:
        threads.append(threading.get_ident())
        return delegator.fetch("inner", copies) if title == "outer" else (title, copies)

    b = Town()
    with threaded() as executor:  # one worker: a queued inner call would wait for itself
        delegator = ServiceDelegator(
            Library,
            {
                "a": ServiceBackend(Town(again), executor),
                "b": ServiceBackend(b, SynchronousExecutor()),
            },
            select,
        )
        assert delegator.fetch("outer", 5) == ("inner", 5)
    assert selections == ["outer"]
    assert len(threads) == 2
    assert len(set(threads)) == 1
    assert len(b.contexts) == 1  # once, for the outer call


def test_another_interface_within_a_backend_is_delegated_in_the_same_context() -> None:
    class Post(ServiceInterface):
        interface = ("send",)

        def send(self) -> object:
            context = current_context()
            assert context is not None
            return context.request, set(context.backends)

    post = ServiceDelegator(Post, {"p": ServiceBackend(Post(), SynchronousExecutor())}, names("p"))
    seen_after: list[Context | None] = []

    def send(*_: Any) -> object:
        sent = post.send()
        seen_after.append(current_context())
        return sent

    town = Town(send)
    with ambient_request("request"):
        assert delegate({"a": town}, "a").fetch("Emma") == ("request", {Library, Post})
    # A nested synchronous call does not end the outer context.
    assert seen_after == town.contexts
    assert seen_after[0] is not None
    assert set(seen_after[0].backends) == {Library}


@pytest.mark.parametrize("fails", [False, True])
def test_the_executors_thread_has_the_context_during_the_call_only(fails: bool) -> None:
    def answer(*_: Any) -> None:
        if fails:
            raise ConnectionError

    town = Town(answer)
    with threaded() as executor:
        delegator = ServiceDelegator(Library, {"a": ServiceBackend(town, executor)}, names("a"))
        if fails:
            with pytest.raises(ConnectionError):
                delegator.fetch("Emma")
        else:
            delegator.fetch("Emma")
        after = executor.submit(current_context, Priority.PRIMARY, block=True)
        assert after.result(WAIT_S) is None
    assert town.contexts != [None]
    assert current_context() is None


_shelf: ContextVar[str] = ContextVar("shelf", default="none")


def test_backends_have_the_callers_context_variables_in_any_thread_and_cannot_change_them() -> None:
    def answer(*_: Any) -> str:
        seen = _shelf.get()
        _shelf.set("the backend's")
        return seen

    token = _shelf.set("the caller's")
    try:
        with threaded() as executor:
            for each in (executor, SynchronousExecutor()):
                backends = {name: ServiceBackend(Town(answer), each) for name in "ab"}
                reports: list[CallReport] = []
                delegator = ServiceDelegator(Library, backends, names("a", "b"), reports.append)
                assert delegator.fetch("Emma") == "the caller's"
                executor.submit(lambda: None, Priority.STOP, block=True).result(WAIT_S)
                (report,) = reports
                assert [future and future.result(WAIT_S) for future in report.futures] == [
                    "the caller's"
                ] * 2
        assert _shelf.get() == "the caller's"
    finally:
        _shelf.reset(token)


# -- order, blocking and full queues --------------------------------------------------------------


def test_secondaries_are_queued_first_without_blocking_and_the_primary_last() -> None:
    log: list[tuple[str, Priority, bool]] = []
    backends = {name: ServiceBackend(Town(), Order(name, log)) for name in "abc"}
    ServiceDelegator(Library, backends, names("a", "b", "c")).fetch("Emma")
    assert log == [
        ("b", Priority.SECONDARY, False),
        ("c", Priority.SECONDARY, False),
        ("a", Priority.PRIMARY, True),
    ]


def test_a_secondary_with_a_full_queue_fails_alone_and_at_once() -> None:
    gate = Gate()
    reports: list[CallReport] = []
    with threaded(queue_length=1) as executor:
        delegator = ServiceDelegator(
            Library,
            {
                "a": ServiceBackend(Town(), SynchronousExecutor()),
                "slow": ServiceBackend(Town(gate), executor),
            },
            names("a", "slow"),
            reports.append,
        )
        delegator.fetch("running")
        gate.await_entry()
        delegator.fetch("waiting")
        assert delegator.fetch("refused") == ("refused", 1)
        # The first two are still running; the refused one is complete.
        (report,) = reports
        assert report.arguments["title"] == "refused"
        refused = report.futures[1]
        assert refused is not None
        with pytest.raises(QueueFull, match="test"):
            refused.result(0)
        assert report.timings[1] is None
        gate.opened.set()
    assert len(reports) == 3


def test_a_primary_with_a_full_queue_waits_for_a_free_slot() -> None:
    gate = Gate()
    results: list[object] = []
    with threaded(queue_length=1) as executor:
        delegator = ServiceDelegator(
            Library, {"a": ServiceBackend(Town(gate), executor)}, names("a")
        )
        callers = [
            threading.Thread(target=lambda title=title: results.append(delegator.fetch(title)))
            for title in ("one", "two", "three")
        ]
        for caller in callers:
            caller.start()
        gate.await_entry()
        gate.opened.set()
        for caller in callers:
            caller.join(WAIT_S)
    assert sorted(map(str, results)) == ["one", "three", "two"]


def test_primaries_overtake_waiting_secondaries_and_each_kind_is_first_in_first_out() -> None:
    gate = Gate()
    order: list[str] = []
    with threaded() as executor:
        executor.submit(lambda: gate("", 0), Priority.PRIMARY, block=True)
        gate.await_entry()
        for name in ("s1", "s2", "s3"):
            executor.submit(partial(order.append, name), Priority.SECONDARY, block=False)
        for name in ("p1", "p2", "p3"):
            executor.submit(partial(order.append, name), Priority.PRIMARY, block=True)
        gate.opened.set()
    assert order == ["p1", "p2", "p3", "s1", "s2", "s3"]


def test_the_caller_does_not_wait_for_secondaries() -> None:
    gate = Gate()
    reports: list[CallReport] = []
    with threaded() as executor:
        delegator = ServiceDelegator(
            Library,
            {
                "a": ServiceBackend(Town(), SynchronousExecutor()),
                "slow": ServiceBackend(Town(gate), executor),
            },
            names("a", "slow"),
            reports.append,
        )
        assert delegator.fetch("Emma") == ("Emma", 1)
        assert reports == []
        gate.opened.set()
    (report,) = reports
    assert [future and future.result(0) for future in report.futures] == [("Emma", 1), "Emma"]


# -- failures, the callback and timings -----------------------------------------------------------


def test_a_secondarys_exception_is_logged_and_does_not_reach_the_caller() -> None:
    def fail(*_: Any) -> None:
        raise ConnectionError("no library")

    reports: list[CallReport] = []
    delegator = delegate({"a": Town(), "b": Town(fail)}, "a", "b", callback=reports.append)
    with capture_logs() as logs:
        assert delegator.fetch("Emma") == ("Emma", 1)
    assert [entry["event"] for entry in logs] == ["service_secondary_failed"]
    assert logs[0]["backend"] == "b"
    assert logs[0]["method"] == "fetch"
    assert logs[0]["error"] == "ConnectionError: no library"
    failed = reports[0].futures[1]
    assert failed is not None
    assert isinstance(failed.exception(0), ConnectionError)


def test_the_primarys_exception_reaches_the_caller_and_is_not_logged() -> None:
    def fail(*_: Any) -> None:
        raise ConnectionError("no library")

    b = Town()
    reports: list[CallReport] = []
    delegator = delegate({"a": Town(fail), "b": b}, "a", "b", callback=reports.append)
    with capture_logs() as logs, pytest.raises(ConnectionError, match="no library"):
        delegator.fetch("Emma")
    assert logs == []
    assert len(b.contexts) == 1
    assert len(reports) == 1


def test_the_callback_gets_the_call_and_all_results_in_the_selected_order() -> None:
    reports: list[CallReport] = []
    towns = {name: Town(lambda *_, name=name: name) for name in "abc"}
    delegator = delegate(towns, "b", "c", "a", callback=reports.append)
    delegator.fetch("Emma", copies=4)
    (report,) = reports
    assert report.method == "fetch"
    assert report.arguments == {"title": "Emma", "copies": 4}
    assert report.names == ["b", "c", "a"]
    assert [future and future.result(0) for future in report.futures] == ["b", "c", "a"]


def test_a_callbacks_exception_is_logged_and_the_call_continues() -> None:
    def fail(_report: CallReport) -> None:
        raise ZeroDivisionError("a bug")

    with capture_logs() as logs:
        assert delegate({"a": Town()}, "a", callback=fail).fetch("Emma") == ("Emma", 1)
    assert [(entry["event"], entry["error"]) for entry in logs] == [
        ("service_callback_failed", "ZeroDivisionError: a bug")
    ]


def test_each_backend_has_its_own_timing_without_its_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, clock = Gate(), ManualClock()
    reports: list[CallReport] = []

    def taking(seconds: float) -> Town:
        def answer(*_: object) -> None:
            clock.now += seconds

        return Town(answer)

    class OpensTheGate(SynchronousExecutor):
        """The primary's: it comes after the secondary one was queued."""

        def submit(self, task: Callable[[], T], priority: Priority, *, block: bool) -> Future[T]:
            future = super().submit(task, priority, block=block)
            clock.now += 4
            gate.opened.set()
            return future

    monkeypatch.setattr("consumer_fleet.inspector.services.perf_counter", clock)
    with threaded() as executor:
        delegator = ServiceDelegator(
            Library,
            {
                "quick": ServiceBackend(taking(1), OpensTheGate()),
                "slow": ServiceBackend(taking(2), executor),
            },
            names("quick", "slow"),
            reports.append,
        )
        executor.submit(lambda: gate("", 0), Priority.PRIMARY, block=True)
        gate.await_entry()
        delegator.fetch("Emma")
    quick, slow = reports[0].timings
    assert slow == Timing(waited_s=5, took_s=2)
    assert quick == Timing(waited_s=0, took_s=1)


def test_without_secondaries_the_timing_is_known_when_the_call_returns() -> None:
    with threaded(workers=4) as executor:
        delegator = ServiceDelegator(
            Library, {"a": ServiceBackend(Town(), executor)}, names("a"), note_timings
        )
        for _ in range(500):
            timings = CallTimings()
            with ambient_request(timings):
                delegator.fetch("Emma")
            assert list(timings.took_ms) == ["a"]


def test_close_finishes_queued_calls_and_closes_backends_and_executors() -> None:
    town = Town()
    executor = ThreadedExecutor(2, 100, name="closing")
    delegator = ServiceDelegator(Library, {"a": ServiceBackend(town, executor)}, names("a"))
    done: list[int] = []
    for number in range(50):
        executor.submit(partial(done.append, number), Priority.SECONDARY, block=True)
    delegator.close()
    assert sorted(done) == list(range(50))
    assert town.closed
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("closing")]
    with pytest.raises(RuntimeError, match="closed"):
        delegator.fetch("Emma")


# -- many at once ---------------------------------------------------------------------------------


class Archive(ServiceInterface):
    """Another interface, called by the desks below within their calls."""

    interface = ("look",)

    def look(self) -> object:
        context = current_context()
        assert context is not None
        assert context.backends[Archive] is self
        assert len(context.backends) == 2
        return context.request


class Desk(Library):
    """Checks its context, and calls its own interface and another one."""

    def __init__(self) -> None:
        self.library: Any = None
        self.archive: Any = None

    def fetch(self, title: str, copies: int = 1) -> Any:
        context = current_context()
        assert context is not None
        assert context.backends == {Library: self}
        assert "{}/{}".format(*context.request) == title
        assert self.archive.look() is context.request
        if copies % 5 == 0:
            assert self.library.fetch(title, 1) == (title, 1)
        return title, copies


CALLS_PER_THREAD = 100


class Checked:
    """A selector, a callback and callers that detect data of other requests."""

    def __init__(self) -> None:
        self.calls = self.reports = 0
        self.problems: list[object] = []
        self._lock = threading.Lock()

    def select(self, context: Context, _method: str, arguments: Mapping[str, Any]) -> list[str]:
        assert context.backends == {}
        thread, number = context.request
        assert arguments == {"title": f"{thread}/{number}", "copies": number}
        first = ("one", "two", "direct")[number % 3]
        return [first, "aside"] if number % 50 == 0 else [first]

    def check(self, report: CallReport) -> None:
        thread, number = report.context.request
        wanted = (f"{thread}/{number}", number)
        results = [future and future.result(0) for future in report.futures]
        with self._lock:
            self.reports += 1
            if results != [wanted] * len(report.names) or report.context.backends:
                self.problems.append((wanted, results, report.context.backends))

    def call(self, library: ServiceDelegator, thread: int) -> None:
        done = 0
        try:
            for number in range(CALLS_PER_THREAD):
                title = f"{thread}/{number}"
                with ambient_request((thread, number)):
                    assert library.fetch(title, number) == (title, number)
                assert current_context() is None
                done += 1
        except Exception as error:
            self.problems.append(error)
        with self._lock:
            self.calls += done


def test_concurrent_requests_do_not_interfere() -> None:
    """64 threads make calls over two pools, the caller's thread and secondaries."""
    checked = Checked()
    desks = {name: Desk() for name in ("one", "two", "direct", "aside")}
    executors: dict[str, Executor] = {
        "one": ThreadedExecutor(4, 8),
        "two": ThreadedExecutor(2, 8),
        "direct": SynchronousExecutor(),
        "aside": ThreadedExecutor(2, 64 * CALLS_PER_THREAD),
    }
    library = ServiceDelegator(
        Library,
        {name: ServiceBackend(desk, executors[name]) for name, desk in desks.items()},
        checked.select,
        checked.check,
    )
    archive = ServiceDelegator(
        Archive, {"x": ServiceBackend(Archive(), SynchronousExecutor())}, names("x")
    )
    for desk in desks.values():
        desk.library, desk.archive = library, archive
    callers = [
        threading.Thread(target=checked.call, args=(library, thread)) for thread in range(64)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    library.close()
    assert checked.problems == []
    assert checked.calls == checked.reports == 64 * CALLS_PER_THREAD


def test_a_call_that_is_being_queued_while_its_executor_closes_still_gets_its_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    executor = ThreadedExecutor(name="test")
    closing = threading.Thread(target=executor.close)
    put = executor._queue.put

    def put_once_it_closes(job: Any, block: bool = True) -> None:
        if job.task is not None:
            closing.start()
            # It ends only if it does not wait for this task.
            closing.join(0.3)
        put(job, block=block)

    monkeypatch.setattr(executor._queue, "put", put_once_it_closes)
    assert executor.submit(lambda: "done", Priority.PRIMARY, block=True).result(WAIT_S) == "done"
    closing.join(WAIT_S)
    assert not closing.is_alive()


def test_a_secondary_whose_executor_is_closed_fails_alone() -> None:
    reports: list[CallReport] = []
    with threaded() as closed:
        pass
    delegator = ServiceDelegator(
        Library,
        {
            "a": ServiceBackend(Town(), SynchronousExecutor()),
            "b": ServiceBackend(Town(), closed),
        },
        names("a", "b"),
        reports.append,
    )
    assert delegator.fetch("Emma") == ("Emma", 1)
    future = reports[0].futures[1]
    assert future is not None
    with pytest.raises(ExecutorClosed, match="test"):
        future.result(0)
