"""Worker processes that die in every way."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from pathlib import Path

from tests.chaos.receiver import ACCEPT, Answer, Request, Then, response, share_of
from tests.chaos.rows import row
from tests.chaos.stage import CONNECTIONS, Stage
from tests.support.consumer_process import ConsumerProcess

_WORKERS = 6


@row
def worker_deaths(stage: Stage) -> None:
    """Workers that are killed, crash, freeze or run out of memory lose nothing.

    200 deaths: SIGKILL, SIGSEGV, SIGSTOP until the consumer kills it, a memory limit. Meanwhile
    requests fail in six ways, also after they were accepted.

    Bound: 16 requests on the wire of each, and each failure after acceptance
    """
    _kill_workers(stage, stage.scaled(200, 5), stage.scaled(200_000))


def _kill_workers(stage: Stage, deaths: int, messages: int) -> None:
    stage.upstream.script = lambda request: _failing(stage.seed, request)
    stage.fill(4, messages)
    consumer = stage.start("--set", "message_timeout_s=4", workers=_WORKERS)
    consumer.wait_for("worker_ready", _WORKERS)
    ways = [_kill, _crash, _freeze, _starve]
    for moment in stage.moments(deaths):
        stage.wait_for_accepted(moment)
        way = stage.chance.choices(ways, (5, 5, 1, 4))[0]
        # A worker that ends by itself in this moment is one more death.
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            way(stage.chance.choice(_living(consumer)))
        stage.faults[f"worker {way.__name__}"] += 1
    stage.finish(300)
    died = stage.events("worker_died")
    stage.bound = died * CONNECTIONS + stage.upstream.ambiguous


def _failing(seed: int, request: Request) -> Answer:
    """A tenth of the requests fail."""
    share = share_of(seed, request)
    return _FAILURES[int(share * 10 * len(_FAILURES))] if share < 0.1 else ACCEPT


_UNAVAILABLE = response("503 Service Unavailable")
_FAILURES = (
    Answer(_UNAVAILABLE, accepts=False),
    Answer(_UNAVAILABLE, accepts=False, then=Then.CLOSE),
    Answer(b"", accepts=False, then=Then.RESET),
    Answer(b"", accepts=True, then=Then.CLOSE),
    Answer(b"", accepts=True, then=Then.RESET),
    Answer(ACCEPT.data[:20], accepts=True, then=Then.CLOSE),
)


def _living(consumer: ConsumerProcess) -> list[int]:
    pids = [pid for pid in consumer.worker_pids() if Path(f"/proc/{pid}").exists()]
    return pids or [consumer.wait_for("worker_ready")[-1]["pid"]]


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def _crash(pid: int) -> None:
    os.kill(pid, signal.SIGSEGV)


def _freeze(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


def _starve(pid: int) -> None:
    """Leave the process no more memory than it has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    size = pages * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (size, size))
