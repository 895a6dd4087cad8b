"""A worker in a thread of this process: what replays in tests run on."""

from __future__ import annotations

import os
import pickle
import socket
import threading
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.reduction import ForkingPickler
from time import monotonic

import structlog

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.capture.transport import MultiplexingTransport
from consumer_fleet.errors import EXIT_BUG, ConfigurationError
from consumer_fleet.worker import protocol
from consumer_fleet.worker.multiprocess_worker import WorkerSpec, serve
from consumer_fleet.worker.process import FramePipe
from consumer_fleet.worker.protocol import SharedState

log = structlog.get_logger(__name__)

_CONTEXT = get_context("spawn")
# A killed worker that is not busy has ended by then.
_GRACE_S = 0.5


class InProcessWorker:
    """A worker (``WorkerHandle``) without a process; starts at its construction.

    Its pipe, the frames on it, its loop and the pickled spec are those of a worker process. Its
    boot is not: ``build`` makes the transport from the options, and nothing that belongs to the
    whole process (logging, metrics, the SDK, signals) is touched. Raises ConfigurationError where
    the spec would not reach another process.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        number: int,
        on_frame: Callable[[], None],
        *,
        build: Callable[[Options], MultiplexingTransport],
    ) -> None:
        self.started_at = monotonic()
        self.shared = SharedState(_CONTEXT)
        self.exit_code: int | None = None
        self._spec = _sent_across(spec)
        self._build = build
        self._killed = False
        self._ours, self._theirs = _CONTEXT.Pipe(duplex=True)
        name = f"in-process-worker-{number}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._pipe = FramePipe(self._ours, name, on_frame)

    @property
    def pid(self) -> int:
        return os.getpid()

    @property
    def alive(self) -> bool:
        return self.exit_code is None

    def send(self, frame: bytes) -> None:
        self._pipe.send(frame)

    def take_frames(self) -> list[bytes]:
        return self._pipe.take_frames()

    def stop(self) -> None:
        self.send(protocol.STOP)

    def kill(self) -> None:
        """Cut the pipe. A thread can't be ended: one that is busy ends when it comes back."""
        self._killed = True
        self.exit_code = EXIT_BUG
        with socket.fromfd(self._ours.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as end:
            end.shutdown(socket.SHUT_RDWR)

    def join(self, timeout_s: float) -> bool:
        self._thread.join(min(timeout_s, _GRACE_S) if self._killed else timeout_s)
        if self._thread.is_alive() and not self._killed:
            return False
        self._pipe.close()
        return True

    def _run(self) -> None:
        transport: MultiplexingTransport | None = None
        exit_code = EXIT_BUG
        try:
            spec = self._spec
            transport = self._build(spec.options)
            serve(spec.decode, transport, self._theirs, self.shared, spec.options, spec.prepare)
            exit_code = 0
        except (Exception, SystemExit):
            # As in a process: the pool starts another worker and sends again.
            if not self._killed:
                log.exception("worker_failed")
        finally:
            if transport is not None:
                transport.kill()
            self._theirs.close()
            self.exit_code = exit_code


def _sent_across(spec: WorkerSpec) -> WorkerSpec:
    """The spec as another process would get it."""
    try:
        received = pickle.loads(ForkingPickler.dumps(spec))  # noqa: S301 - pickled right here
    except (pickle.PicklingError, AttributeError, TypeError, ImportError) as error:
        raise ConfigurationError(
            f"the codec {spec.decode!r} can't be sent to a worker process: {error}. Make it a "
            "function at the top level of a module"
        ) from error
    assert isinstance(received, WorkerSpec)
    return received
