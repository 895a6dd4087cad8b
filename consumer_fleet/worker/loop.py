"""The loop of a worker: messages out of frames, envelopes to the transport, receipts back.

It runs in the worker's main thread, and waits for the pipe and the sockets together, so that none
of them blocks the others.
"""

from __future__ import annotations

from multiprocessing.connection import Connection
from time import monotonic

import structlog
from sentry_sdk.tracing import Span

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.capture.counts import PLACES_APART, DestinationStatus, drop_pending
from consumer_fleet.capture.delivery import captured_by
from consumer_fleet.capture.destination import Destination
from consumer_fleet.capture.envelope import Envelope, with_origin
from consumer_fleet.capture.held import Held
from consumer_fleet.capture.own_events import BugReports, start_chunk_trace
from consumer_fleet.capture.transport import MultiplexingTransport
from consumer_fleet.codec import (
    Decode,
    Decoded,
    Fragment,
    Incomplete,
    Prepare,
    RawMessage,
    Skipped,
)
from consumer_fleet.errors import RejectedMessage
from consumer_fleet.worker import protocol
from consumer_fleet.worker.assembly_files import AssemblyFiles
from consumer_fleet.worker.circles import CIRCLE, CircleGuard
from consumer_fleet.worker.protocol import Kind, Parked, Receipts, SharedState, Task
from consumer_fleet.worker.windows import Window, Windows

log = structlog.get_logger(__name__)

_IDLE_WAIT_S = 0.5
_STATUS_INTERVAL_S = 0.5
_LAST_FLUSH_TIMEOUT_S = 1.0
# Messages decoded in a turn: answers wait meanwhile.
_BURST = 32
# Bursts in a turn while no request is under way, as where all are filtered: no answer waits.
_BURSTS = 8
_new = tuple.__new__


class RunningTask:
    """A task in the worker: the next message to start, and the receipts to send.

    It is the recipient of its envelopes, which it knows by their numbers. It is abandoned if its
    partition has moved: the new owner delivers the messages.
    """

    def __init__(self, task: Task, worker: WorkerLoop, window: Window[RunningTask]) -> None:
        self.task = task
        self.window = window
        # The position of the next message to start.
        self.next = 0
        self.unsettled = len(task.numbers)
        self.abandoned = False
        self.draining = False
        self.can_hold = True
        self.receipts = Receipts(task.task_id)
        self.trace: Span | None = None
        self._worker = worker
        self._marks = worker.shared.receipts
        self._region = task.region

    def done(self, number: int, rejection: RejectedMessage | None) -> None:
        """Called by the transport: a captured message is settled."""
        self.window.in_flight -= 1
        worker = self._worker
        if self.abandoned:
            return
        if rejection is not None:
            self.rejected(number, rejection)
            return
        self.unsettled -= 1
        # Here and now: a death of this worker must not lose it.
        self._marks[self._region + number] |= protocol.DELIVERED
        worker.has_deliveries = True
        if self.unsettled == 0:
            worker.news[self.task.task_id] = self

    def held(self, number: int, held: Held) -> None:
        """Called by the transport: a captured message must wait, and others may pass it."""
        self.window.in_flight -= 1
        worker = self._worker
        if not self.abandoned:
            self.unsettled -= 1
            self.receipts.held.append((number, held.packed()))
            worker.news[self.task.task_id] = self

    def given_up(self, number: int) -> None:
        """Called by the transport while draining: a captured message can't be sent now."""
        self.window.in_flight -= 1
        worker = self._worker
        if not self.abandoned:
            self.unsettled -= 1
            self.receipts.given_up.append(number)
            worker.news[self.task.task_id] = self

    def accepted(self, number: int, destination: str) -> None:
        """Called by the transport: one of two destinations has the message."""
        # Not after the task's end: its region may be another's then.
        if self.unsettled and not self.abandoned:
            self._marks[self._region + number] |= protocol.ACCEPTED_BY[destination]

    def dropped(self, number: int) -> None:
        """Called by the transport: no destination takes any item of a captured message."""
        self.window.in_flight -= 1
        if not self.abandoned:
            self.filtered(number, "dropped_items")

    def filtered(self, number: int, reason: str) -> None:
        self.unsettled -= 1
        self.receipts.filtered.append((number, reason))
        self._worker.news[self.task.task_id] = self

    def rejected(self, number: int, rejection: RejectedMessage) -> None:
        self.unsettled -= 1
        self.receipts.rejected.append((number, rejection.reason, rejection.detail))
        self._worker.news[self.task.task_id] = self

    def parked(self, message: Parked) -> None:
        """The message is on disk, where a successor of this worker finds it."""
        self.unsettled -= 1
        self.receipts.parked.append(message)
        self._worker.news[self.task.task_id] = self

    def take_receipts(self) -> Receipts | None:
        """The receipts to send, if any."""
        receipts = self.receipts
        if receipts.is_empty:
            return None
        self.receipts = Receipts(self.task.task_id)
        return receipts


class WorkerLoop:
    """See the module. ``run`` returns when it was asked to stop and nothing is left."""

    def __init__(
        self,
        decode: Decode,
        transport: MultiplexingTransport,
        connection: Connection,
        shared: SharedState,
        options: Options,
        prepare: Prepare | None,
        circles: CircleGuard,
    ) -> None:
        self._decode = decode
        self._prepare = prepare
        self._circles = circles
        self._transport = transport
        self._connection = connection
        self.shared = shared
        self.has_deliveries = False
        # Tasks with receipts to send, or that are done.
        self.news: dict[int, RunningTask] = {}
        self._windows: Windows[RunningTask] = Windows(
            options, circles.has_come_back, transport.destinations
        )
        self._names_origin = options.envelope_origin
        self._traces = options.self_reporting and options.traces_sample_rate > 0
        self._bugs = BugReports()
        # The directory is the run's own: the parent has made it.
        directory = options.assembly_dir
        self._files = None if directory is None else AssemblyFiles(directory)
        self._by_id: dict[int, RunningTask] = {}
        self._stopping = False
        # Tasks that are being drained.
        self._draining: set[int] = set()
        self._status_due = 0.0

    def run(self) -> None:
        """Take tasks, start messages, drive delivery, report: until stopped and empty."""
        self._transport.register(self._connection.fileno(), self._read_frame)
        while True:
            self.shared.beat()
            more = self._start_messages()
            if self._stopping and not self._by_id:
                break
            # Receipts of what was settled at once (filtered, rejected) must not wait for sockets.
            self._send_receipts()
            self._transport.run_once(0.0 if more else _IDLE_WAIT_S)
            self.shared.note_accepted(self._transport.accepted())
            self._send_receipts()
            self._send_status()
        self._send_receipts()
        self._transport.flush(timeout=_LAST_FLUSH_TIMEOUT_S)
        statuses = self._transport.statuses()
        last = [each if each.required else drop_pending(each) for each in statuses]
        self._connection.send_bytes(protocol.encode_status(last))
        self._connection.close()

    def _read_frame(self, _mask: int) -> None:
        """Read one frame, which is there; called again in the next turn if there are more.

        Frames are read even while no message may start: the parent bounds what it sends, and only
        a read shows that the parent is gone.
        """
        frame = self._connection.recv_bytes()
        if frame == protocol.STOP:
            self._stopping = True
            return
        kind, fields = protocol.decode(frame)
        if kind is Kind.LAID:
            kind, fields = self.shared.take_laid(*fields)
        if kind is Kind.TASK:
            chunk = protocol.as_task(fields)
            task = RunningTask(chunk, self, self._windows.of(chunk.topic))
            if self._traces:
                task.trace = start_chunk_trace(chunk.topic, chunk.partition, chunk.offsets)
            task.window.tasks.append(task)
            self._by_id[chunk.task_id] = task
        elif kind is Kind.CANCEL:
            self._cancel(fields[0])
        elif kind is Kind.DRAIN:
            for task_id in self._by_id.keys() & fields[0]:
                self._by_id[task_id].draining = True
                self._draining.add(task_id)
            self._transport.drain(begins=bool(self._draining))
        elif kind is Kind.CHANGE:
            self._transport.change(*fields)

    def _end(self, task_id: int) -> RunningTask | None:
        task = self._by_id.pop(task_id, None)
        if task is not None and task.draining:
            self._draining.discard(task_id)
            self._transport.drain(begins=bool(self._draining))
        return task

    def _cancel(self, task_id: int) -> None:
        task = self._end(task_id)
        if task is not None:
            task.abandoned = True
            task.next = len(task.task.numbers)
            self.news.pop(task_id, None)
            self._transport.drop_abandoned()
            self._connection.send_bytes(protocol.encode_done(task_id))

    def _start_messages(self) -> bool:
        """Decode and capture some messages of each topic. True if more may start now."""
        more = [self._start_of(window) for window in self._windows.each]
        self.shared.end()
        return any(more)

    def _start_of(self, window: Window[RunningTask]) -> bool:
        left = min(_BURST, self._windows.room(window.in_flight))
        bursts, tasks = 1, window.tasks
        while tasks and left > 0:
            task = tasks[0]
            begin, end = task.next, min(task.next + left, len(task.task.numbers))
            left -= end - begin
            if begin < end:  # not cancelled
                self._start(task, begin, end)
            if task.next >= len(task.task.numbers):
                tasks.popleft()
            if left == 0 and not window.in_flight and bursts < _BURSTS:
                bursts, left = bursts + 1, _BURST
                self.shared.beat()
        return bool(tasks) and self._windows.room(window.in_flight) > 0

    # In one piece, and with what it uses often in local names: it runs for each message.
    def _start(self, running: RunningTask, begin: int, end: int) -> None:
        task, window = running.task, running.window
        prepare, decode = self._prepare, self._decode
        topic, partition = task.topic, task.partition
        first_place = partition * PLACES_APART
        numbers, offsets = task.numbers, task.offsets
        times, values = task.timestamps_ms, task.values
        names_origin, capture = self._names_origin, self._transport.capture
        suspect_number, has_come_back = self.shared.suspect_number, window.has_come_back
        self.shared.begin(task.task_id, numbers[begin])
        for position in range(begin, end):
            running.next = position + 1
            number = numbers[position]
            suspect_number[0] = number
            offset, timestamp_ms = offsets[position], times[position]
            # A named tuple's own constructor takes twice as long.
            raw = _new(
                RawMessage, (topic, partition, offset, timestamp_ms, values[position], None, ())
            )
            try:
                if prepare is None:
                    decoded = decode(raw)
                else:
                    raw = raw._replace(key=task.keys[position], headers=task.headers[position])
                    raw, decoded = self._prepare_and_decode(raw, prepare)
            except RejectedMessage as rejection:
                running.rejected(number, rejection)
                continue
            except MemoryError:
                # The message need not be the cause: end, and let the parent count its suspects.
                raise
            except Exception as error:
                running.rejected(number, self._bug(raw, error))
                continue
            if isinstance(decoded, Envelope):
                envelope = decoded
            else:
                whole = self._take_part(decoded, running, position)
                if whole is None:
                    continue
                envelope = whole
            if has_come_back(envelope, first_place + offset):
                running.filtered(number, CIRCLE)
                self._circles.skipped(task, position, envelope)
                continue
            if names_origin:
                envelope = with_origin(envelope, raw.topic, raw.partition, raw.offset)
            window.in_flight += 1
            capture(
                envelope,
                running,
                number,
                sampling_key=envelope.event_id or f"{raw.topic}/{raw.partition}/{raw.offset}",
                skip=task.accepted_by.get(number, ()) if task.accepted_by else (),
                held=Held(*task.held[number]) if task.held else None,
            )

    def _bug(self, raw: RawMessage, error: Exception) -> RejectedMessage:
        log.exception("codec_error", topic=raw.topic, partition=raw.partition, offset=raw.offset)
        self._bugs.report(error, topic=raw.topic)
        return RejectedMessage("codec_error", f"{type(error).__name__}: {error}")

    def _take_part(
        self, decoded: Fragment | Incomplete | Skipped, running: RunningTask, position: int
    ) -> Envelope | None:
        """The envelope that the message is a part of, if all of it is there."""
        number = running.task.numbers[position]
        if isinstance(decoded, Skipped):
            running.filtered(number, decoded.reason)
            if decoded.reason == CIRCLE:
                self._circles.skipped(running.task, position, None)
            return None
        if self._files is None:
            detail = "an envelope of several messages: its message format must set assembles"
            running.rejected(number, RejectedMessage("codec_error", detail))
            return None
        found = self._files.take(running.task, position, decoded)
        if isinstance(found, Envelope):
            return found
        if isinstance(found, Skipped):
            running.filtered(number, found.reason)
        else:
            running.parked(found)
        return None

    def _prepare_and_decode(self, raw: RawMessage, prepare: Prepare) -> tuple[RawMessage, Decoded]:
        """Return the message as its codec saw it, and the result of decoding it."""
        prepared = prepare(raw)
        if isinstance(prepared, Skipped):
            return raw, prepared
        return prepared, self._decode(prepared)

    def _send_receipts(self) -> None:
        if self.has_deliveries:
            self.has_deliveries = False
            if self.shared.announce():
                self._connection.send_bytes(protocol.NEWS)
        if not self.news:
            return
        for task_id, task in self.news.items():
            receipts = task.take_receipts()
            if receipts is not None:
                self._connection.send_bytes(protocol.encode_receipts(receipts))
            if task.unsettled == 0 and self._end(task_id) is not None:
                if task.trace is not None:
                    task.trace.finish()
                self._connection.send_bytes(protocol.encode_done(task_id))
        self.news.clear()

    def _send_status(self) -> None:
        now = monotonic()
        if now >= self._status_due:
            self._status_due = now + _STATUS_INTERVAL_S
            statuses = self._transport.statuses()
            losable = sum(status.pending for status in statuses if not status.required)
            self.shared.note_losable(losable)
            for destination, status in zip(self._transport.destinations, statuses, strict=True):
                _note_kept_back(destination, status)
            self._connection.send_bytes(protocol.encode_status(statuses))


def _note_kept_back(destination: Destination, status: DestinationStatus) -> None:
    for parcel in destination.keeps_back():
        recipient, number = captured_by(parcel)
        if isinstance(recipient, RunningTask):
            task = recipient.task
            offset = task.offsets[task.numbers.index(number)]
            status.keeps_back.setdefault(f"{task.topic}/{task.partition}", []).append(offset)
