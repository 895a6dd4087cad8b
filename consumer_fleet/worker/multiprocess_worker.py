"""The entry point of a worker process: boots once, then works until the stop sentinel or EOF.

The worker decodes messages, captures their envelopes and drives their delivery (``WorkerLoop``). It
holds no Kafka client and commits nothing; it only reports.
"""

from __future__ import annotations

import gc
import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import monotonic
from typing import NoReturn

import structlog

from consumer_fleet import metrics
from consumer_fleet.bootstrap.configure import configure
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.capture.counts import SentIds
from consumer_fleet.capture.own_events import report_last_bug
from consumer_fleet.capture.transport import MultiplexingTransport
from consumer_fleet.codec import (
    Decode,
    Prepare,
)
from consumer_fleet.errors import EXIT_BUG, EXIT_SYSTEM, FleetError, OutputError
from consumer_fleet.worker import protocol
from consumer_fleet.worker.circles import CircleGuard
from consumer_fleet.worker.decoding import build_decode
from consumer_fleet.worker.loop import WorkerLoop
from consumer_fleet.worker.protocol import SharedState

log = structlog.get_logger(__name__)

_METRICS_FLUSH_TIMEOUT_S = 1.0
_LAST_REPORT_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """Everything that a worker needs to boot itself. Our parent process sends it pickled.

    ``prepare`` gets each message, with its key and headers, before ``decode`` does. Where envelopes
    may be spread over messages, ``options.assembly_dir`` is the directory of this run. With
    ``sent``, envelopes that come back are not sent again.
    """

    decode: Decode
    options: Options
    prepare: Prepare | None = None
    sent: SentIds | None = None


def multiprocess_worker(
    spec: WorkerSpec, number: int, connection: Connection, shared: SharedState
) -> None:
    """Run one worker. Called in a spawned process; returns at the stop sentinel or at EOF.

    A boot that fails is reported over the pipe, with the exit code of its error.
    """
    # The parent decides when a worker ends. A terminal's Ctrl-C and a service manager's TERM go to
    # the whole process group, and must not end the workers that the parent is draining.
    for each in protocol.SIGNALS_TO_THE_PARENT:
        signal.signal(each, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, protocol.SIGNALS_TO_THE_PARENT)
    try:
        app = configure(spec.options, role="worker", worker_number=number)
        decode = build_decode(spec.decode, app.options)
    except FleetError as error:
        _refuse(connection, str(error), error.exit_code)
    except MemoryError:
        _refuse(connection, "out of memory. Raise its limit, or lower workers.", EXIT_SYSTEM)
    except Exception as error:
        log.exception("worker_boot_failed")
        _refuse(connection, f"{type(error).__name__}: {error}", EXIT_BUG)
    if app.transport is None:
        _refuse(connection, "no destination is configured", EXIT_BUG)
    # The boot's objects stay: the collector need not scan them at each collection.
    gc.freeze()
    try:
        serve(decode, app.transport, connection, shared, app.options, spec.prepare, spec.sent)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The parent is gone: nothing would count a delivery, and its next owner repeats it.
        log.warning("worker_orphaned")
        app.transport.kill()
    except OutputError as error:
        # The disk for parked messages: another worker would have the same trouble.
        app.transport.kill()
        _refuse(connection, str(error), error.exit_code)
    except Exception as error:
        # Our own bug, or no memory: the parent restarts the worker and sends again.
        log.exception("worker_failed")
        report_last_bug(error, _LAST_REPORT_TIMEOUT_S)
        app.transport.kill()
        sys.exit(EXIT_BUG)
    finally:
        # A worker ends without running atexit functions.
        metrics.flush(_METRICS_FLUSH_TIMEOUT_S)


def serve(
    decode: Decode,
    transport: MultiplexingTransport,
    connection: Connection,
    shared: SharedState,
    options: Options,
    prepare: Prepare | None = None,
    sent: SentIds | None = None,
) -> None:
    """Report that the worker is ready, then work until the stop sentinel. Blocks until then.

    Raises EOFError, BrokenPipeError or ConnectionResetError when the parent is gone, and whatever
    a bug raises; the caller ends the worker then.
    """
    shared.beat()  # or the silence of the boot would count against the first message
    connection.send_bytes(protocol.encode_ready(monotonic()))
    circles = CircleGuard(sent, transport)
    WorkerLoop(decode, transport, connection, shared, options, prepare, circles).run()


def _refuse(connection: Connection, text: str, exit_code: int) -> NoReturn:
    connection.send_bytes(protocol.encode_failed(text, exit_code))
    connection.close()
    sys.exit(exit_code)
