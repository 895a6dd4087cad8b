"""The entry point of a worker process: boots once, then works until the stop sentinel or EOF.

The worker decodes messages, captures their envelopes and drives their delivery, all in its main
thread: it waits for the pipe and the sockets together, so that none of them blocks the others. It
holds no Kafka client and commits nothing; it only reports.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from time import monotonic
from typing import NoReturn

import structlog

from consumer_fleet import metrics
from consumer_fleet.bootstrap.configure import configure
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.capture.counts import DestinationStatus
from consumer_fleet.capture.envelope import Envelope, with_origin
from consumer_fleet.capture.transport import MultiplexingTransport
from consumer_fleet.codec import Decode, Prepare, RawMessage, Skipped
from consumer_fleet.errors import EXIT_BUG, FleetError, RejectedMessage
from consumer_fleet.worker import protocol
from consumer_fleet.worker.protocol import Kind, Receipts, SharedState, Task, TaskMessage

log = structlog.get_logger(__name__)

# Envelopes captured and not settled: enough to keep every connection busy. A death of the worker
# sends at most as many a second time.
_WINDOW_PER_CONNECTION = 2
_IDLE_WAIT_S = 0.5
_STATUS_INTERVAL_S = 0.5
_LAST_FLUSH_TIMEOUT_S = 1.0
_METRICS_FLUSH_TIMEOUT_S = 1.0
# Messages decoded in a turn: answers wait meanwhile.
_BURST = 32


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """Everything that a worker needs to boot itself. Our parent process sends it pickled.

    ``prepare`` gets each message, with its key and headers, before ``decode`` does.
    """

    decode: Decode
    options: Options
    prepare: Prepare | None = None


def multiprocess_worker(
    spec: WorkerSpec, number: int, connection: Connection, shared: SharedState
) -> None:
    """Run one worker. Called in a spawned process; returns at the stop sentinel or at EOF.

    A boot that fails is reported over the pipe, with the exit code of its error.
    """
    # The parent decides when a worker ends. A terminal's Ctrl-C and a service manager's TERM go to
    # the whole process group, and must not end the workers that the parent is draining.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        app = configure(spec.options, role="worker", worker_number=number)
    except FleetError as error:
        _refuse(connection, str(error), error.exit_code)
    except Exception as error:
        log.exception("worker_boot_failed")
        _refuse(connection, f"{type(error).__name__}: {error}", EXIT_BUG)
    if app.transport is None:
        _refuse(connection, "no destination is configured", EXIT_BUG)
    # The boot's objects stay: the collector need not scan them at each collection.
    gc.freeze()
    try:
        serve(spec.decode, app.transport, connection, shared, app.options, spec.prepare)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The parent is gone: nothing would count a delivery, and its next owner repeats it.
        log.warning("worker_orphaned")
        app.transport.kill()
    except Exception:
        # Our own bug, or no memory: the parent restarts the worker and sends again.
        log.exception("worker_failed")
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
) -> None:
    """Report that the worker is ready, then work until the stop sentinel. Blocks until then.

    Raises EOFError, BrokenPipeError or ConnectionResetError when the parent is gone, and whatever
    a bug raises; the caller ends the worker then.
    """
    connection.send_bytes(protocol.encode_ready(monotonic()))
    _Worker(decode, transport, connection, shared, options, prepare).run()


def _refuse(connection: Connection, text: str, exit_code: int) -> NoReturn:
    connection.send_bytes(protocol.encode_failed(text, exit_code))
    connection.close()
    sys.exit(exit_code)


class _Receipt:
    """Pass an envelope's delivery on to its task's receipts.

    It is abandoned if its partition has moved: the new owner delivers the message.
    """

    __slots__ = ("_index", "_task")

    def __init__(self, task: _RunningTask, index: int) -> None:
        self._task = task
        self._index = index

    @property
    def abandoned(self) -> bool:
        return self._task.cancelled

    def accepted(self, destination: str) -> None:
        self._task.accepted(self._index, destination)

    def settled(self, rejection: RejectedMessage | None) -> None:
        if rejection is None:
            self._task.delivered(self._index)
        else:
            self._task.rejected(self._index, rejection)


class _RunningTask:
    """A task in the worker: the messages to start, and the receipts to send."""

    def __init__(self, task: Task, note: Callable[[_RunningTask], None]) -> None:
        self.task = task
        self.waiting: deque[TaskMessage] = deque(task.messages)
        self.unsettled = len(task.messages)
        self.cancelled = False
        self._receipts = Receipts(task.task_id)
        self._note = note

    def delivered(self, index: int) -> None:
        self.unsettled -= 1
        self._receipts.delivered.append(index)
        self._note(self)

    def filtered(self, index: int, reason: str) -> None:
        self.unsettled -= 1
        self._receipts.filtered.append((index, reason))
        self._note(self)

    def rejected(self, index: int, rejection: RejectedMessage) -> None:
        self.unsettled -= 1
        self._receipts.rejected.append((index, rejection.reason, rejection.detail))
        self._note(self)

    def accepted(self, index: int, destination: str) -> None:
        self._receipts.accepted.append((index, destination))
        self._note(self)

    def take_receipts(self) -> Receipts:
        receipts, self._receipts = self._receipts, Receipts(self.task.task_id)
        if receipts.accepted:
            # Useful only while another destination has not accepted the message yet.
            settled = {*receipts.delivered, *(index for index, _, _ in receipts.rejected)}
            receipts.accepted = [entry for entry in receipts.accepted if entry[0] not in settled]
        return receipts


class _Worker:
    def __init__(
        self,
        decode: Decode,
        transport: MultiplexingTransport,
        connection: Connection,
        shared: SharedState,
        options: Options,
        prepare: Prepare | None,
    ) -> None:
        self._decode = decode
        self._prepare = prepare
        self._transport = transport
        self._connection = connection
        self._shared = shared
        self._window = options.connections * _WINDOW_PER_CONNECTION
        self._names_origin = options.envelope_origin
        self._best_effort = {
            name
            for name, delivery in (
                ("upstream", options.upstream_delivery),
                ("saas", options.saas_delivery),
            )
            if delivery == "best-effort"
        }
        # Tasks with messages to start, in order of arrival; and those with receipts to send.
        self._tasks: deque[_RunningTask] = deque()
        self._news: dict[int, _RunningTask] = {}
        self._by_id: dict[int, _RunningTask] = {}
        self._stopping = False
        self._status_due = 0.0

    def run(self) -> None:
        """Take tasks, start messages, drive delivery, report: until stopped and empty."""
        self._transport.register(self._connection.fileno())
        while True:
            self._shared.beat()
            self._read_frames()
            more = self._start_messages()
            if self._stopping and not self._by_id:
                break
            # Receipts of what was settled at once (filtered, rejected) must not wait for sockets.
            self._send_receipts()
            self._transport.run_once(0.0 if more else _IDLE_WAIT_S)
            self._shared.note_accepted(self._transport.accepted())
            self._send_receipts()
            self._send_status()
        self._send_receipts()
        self._transport.flush(timeout=_LAST_FLUSH_TIMEOUT_S)
        self._connection.send_bytes(protocol.encode_status(self._last_statuses()))
        self._connection.close()

    def _last_statuses(self) -> list[DestinationStatus]:
        """The last statuses; envelopes that wait for a best-effort destination count as dropped."""
        statuses = []
        for status in self._transport.statuses():
            if status.name in self._best_effort and status.pending:
                tags = {"destination": status.name, "reason": "shutdown"}
                metrics.incr("capture.dropped", amount=status.pending, tags=tags)
                log.warning("best_effort_dropped", destination=status.name, count=status.pending)
                dropped = status.dropped + status.pending
                status = replace(status, dropped=dropped, pending=0)  # noqa: PLW2901 - amended
            statuses.append(status)
        return statuses

    def _read_frames(self) -> None:
        """Read all frames that have arrived, even while no message may start.

        The parent bounds what it sends, and only a read shows that the parent is gone.
        """
        while self._connection.poll():
            frame = self._connection.recv_bytes()
            if frame == protocol.STOP:
                self._stopping = True
                return
            kind, fields = protocol.decode(frame)
            if kind is Kind.TASK:
                task = _RunningTask(protocol.as_task(fields), self._note_news)
                self._tasks.append(task)
                self._by_id[task.task.task_id] = task
            elif kind is Kind.CANCEL:
                self._cancel(fields[0])

    def _cancel(self, task_id: int) -> None:
        task = self._by_id.pop(task_id, None)
        if task is not None:
            task.cancelled = True
            task.waiting.clear()
            self._transport.drop_abandoned()

    def _note_news(self, task: _RunningTask) -> None:
        self._news[task.task.task_id] = task

    def _start_messages(self) -> bool:
        """Decode and capture a burst of messages. True if more may start now."""
        for _ in range(_BURST):
            while self._tasks and not self._tasks[0].waiting:
                self._tasks.popleft()
            if not self._tasks or self._transport.in_flight >= self._window:
                return False
            task = self._tasks[0]
            message = task.waiting.popleft()
            self._shared.begin(task.task.task_id, message.number)
            self._start(task, message)
            self._shared.end()
        return True

    def _start(self, task: _RunningTask, message: TaskMessage) -> None:
        topic, partition = task.task.topic, task.task.partition
        number, offset, timestamp_ms, value, accepted_by, key, headers = message
        raw = RawMessage(topic, partition, offset, timestamp_ms, value, key, headers or ())
        try:
            raw, decoded = self._prepare_and_decode(raw)
        except RejectedMessage as rejection:
            task.rejected(number, rejection)
            return
        except MemoryError:
            # The message need not be the cause: end, and let the parent count its suspects.
            raise
        except Exception as error:
            log.exception("codec_error", topic=topic, partition=partition, offset=offset)
            detail = f"{type(error).__name__}: {error}"
            task.rejected(number, RejectedMessage("codec_error", detail))
            return
        if isinstance(decoded, Skipped):
            task.filtered(number, decoded.reason)
            return
        if self._names_origin:
            decoded = with_origin(decoded, raw.topic, raw.partition, raw.offset)
        self._transport.capture(
            decoded,
            _Receipt(task, number),
            sampling_key=decoded.event_id or f"{raw.topic}/{raw.partition}/{raw.offset}",
            skip=accepted_by,
        )

    def _prepare_and_decode(self, raw: RawMessage) -> tuple[RawMessage, Envelope | Skipped]:
        """Return the message as its codec saw it, and the result of decoding it."""
        if self._prepare is None:
            return raw, self._decode(raw)
        prepared = self._prepare(raw)
        if isinstance(prepared, Skipped):
            return raw, prepared
        return prepared, self._decode(prepared)

    def _send_receipts(self) -> None:
        for task in self._news.values():
            if not task.cancelled:
                self._connection.send_bytes(protocol.encode_receipts(task.take_receipts()))
            if task.unsettled == 0:
                self._by_id.pop(task.task.task_id, None)
        self._news.clear()

    def _send_status(self) -> None:
        now = monotonic()
        if now >= self._status_due:
            self._status_due = now + _STATUS_INTERVAL_S
            statuses = self._transport.statuses()
            losable = sum(status.pending for status in statuses if status.name in self._best_effort)
            self._shared.note_losable(losable)
            self._connection.send_bytes(protocol.encode_status(statuses))
