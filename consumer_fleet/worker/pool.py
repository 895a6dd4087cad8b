"""The supervisor of the workers: hands out work, collects receipts, replaces the dead.

All of it runs in the run loop's thread, through ``poll``. The pool outlives assignments: arroyo
makes a new strategy at every rebalance, and starting workers takes too long to do it then.

What happens when a worker dies or hangs:

1. Its receipts hold. The unsettled messages of its tasks go back to the backlog.
2. The message that it was decoding, if any, is taken for the cause. It is sent again alone, to a
   worker that has nothing else, so that no other message is affected by it.
3. A message that has ended ``MAX_DEATHS`` workers in a row is rejected: a dead letter.
4. The worker is restarted, at once the first time, then with a growing delay.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

import structlog

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.capture.counts import DestinationStatus
from consumer_fleet.capture.held import Held
from consumer_fleet.errors import FleetError, OutputError
from consumer_fleet.metrics import incr
from consumer_fleet.worker import boot_failures, protocol
from consumer_fleet.worker.boot_failures import BOOT_TIMEOUT_S, BootFailure, BootFailures
from consumer_fleet.worker.multiprocess_worker import WorkerSpec
from consumer_fleet.worker.process import Slot, StartWorker, WorkerHandle, WorkerProcess
from consumer_fleet.worker.protocol import Kind, Receipts, Regions
from consumer_fleet.worker.work import Assignment, OutcomeCounts, PoolShare, Work

log = structlog.get_logger(__name__)

MAX_DEATHS = 3


class WorkerPool:
    """See the module. ``on_failure`` gets the error that ends the run if no worker can boot."""

    def __init__(
        self,
        spec: WorkerSpec,
        workers: int,
        *,
        message_timeout_s: float,
        on_failure: Callable[[FleetError], None],
        start_worker: StartWorker = WorkerProcess,
    ) -> None:
        self._spec = spec
        self._start_worker = start_worker
        self._message_timeout_s = message_timeout_s
        self._on_failure = on_failure
        self._shares: list[PoolShare] = []
        self._slots = [Slot(number) for number in range(1, workers + 1)]
        self._backlog: deque[Assignment] = deque()
        self._next_task_id = 1
        self._news = threading.Event()
        self._stopping = False
        self._gone_statuses: dict[str, DestinationStatus] = {}
        self._boots = BootFailures()
        self.given = 0  # chunks
        self.is_hopeless = False  # no worker can boot
        self.restarts = 0

    def assemble_in(self, directory: Path | None) -> None:
        """Name the directory for parked messages. Call before ``start``."""
        options = self._spec.options.model_copy(update={"assembly_dir": directory})
        self._spec = replace(self._spec, options=options)

    def start(self) -> None:
        """Start all workers. Does not wait for their boot: a chunk may wait for it already."""
        for slot in self._slots:
            self._start(slot)

    def share(self, name: str = "") -> PoolShare:
        """Return the part of another consumer, which is its own pool to it; ``name`` is a tag."""
        self._shares.append(PoolShare(self, name))
        return self._shares[-1]

    @property
    def is_busy(self) -> bool:
        """Whether workers have anything, or will."""
        return bool(self._backlog) or any(slot.tasks for slot in self._slots)

    @property
    def outcomes(self) -> OutcomeCounts:
        """The settled messages of all shares."""
        first, *others = (share.outcomes for share in self._shares)
        return sum(others, first) if others else first

    def has_room_for(self, share: PoolShare) -> bool:
        """Whether a worker can take another chunk of the share, or none has booted yet."""
        if self._backlog and any(each.work.share is share for each in self._backlog):
            return False
        return not self.ready_workers or any(slot.can_take(share) for slot in self._slots)

    def give(self, work: Work) -> None:
        """Hand a chunk to the least busy worker that has booted. Never blocks."""
        self.given += 1
        self._backlog.append(Assignment(work, list(range(len(work.chunk.records)))))
        self._dispatch()

    def drain(self, share: PoolShare) -> None:
        """Have workers give up what they can't send at once of the share."""
        for slot in self._slots:
            task_ids = [t for t, a in slot.tasks.items() if a.work.share is share]
            if slot.process is not None and task_ids:
                slot.process.send(protocol.encode_drain(task_ids))

    def abandon(self, works: list[Work]) -> None:
        """Start no more of these, and drop their receipts: nothing waits for them any more."""
        for work in works:
            work.abandoned = True
        self._backlog = deque(a for a in self._backlog if not a.work.abandoned)
        for slot in self._slots:
            for task_id in [t for t, a in slot.tasks.items() if a.work.abandoned]:
                slot.cancelled[task_id] = slot.tasks.pop(task_id).extent
                if slot.process is not None:
                    slot.process.send(protocol.encode_cancel(task_id))

    def change(self, options: Options) -> None:
        """Have all workers, and those that are started later, use these ``Options.LIVE``."""
        live = {name: getattr(options, name) for name in Options.LIVE}
        changed = self._spec.options.model_copy(update=live)
        self._spec = replace(self._spec, options=changed)
        frame = protocol.encode_change(*changed.live_capture)
        for slot in self._slots:
            if slot.process is not None:
                slot.process.send(frame)

    def poll(self) -> None:
        """Take receipts, replace dead and hung workers, hand out what waits. Never blocks."""
        self._news.clear()
        for slot in self._slots:
            self._take_frames(slot)
            self._check(slot)
        self._dispatch()

    def wait(self, timeout_s: float) -> None:
        """Block until a worker has sent a frame, at most ``timeout_s``."""
        self._news.wait(timeout_s)

    def stop(self, timeout_s: float) -> None:
        """Let workers finish within ``timeout_s``, and kill those that don't. The last call."""
        self._stopping = True
        deadline = monotonic() + timeout_s
        running = [slot for slot in self._slots if slot.process is not None]
        for slot in running:
            if slot.process is not None:
                slot.process.stop()
        for slot in running:
            process = slot.process
            if process is None:
                continue
            if not process.join(max(0.0, deadline - monotonic())):
                log.warning("worker_killed", worker=slot.number, why="did not stop in time")
                process.kill()
                process.join(5.0)
            self._take_frames(slot)
            self._take_deliveries(slot)
            self._retire(slot)

    def statuses(self) -> list[DestinationStatus]:
        """One status per destination, over all workers and their predecessors."""
        merged = dict(self._gone_statuses)
        for slot in self._slots:
            for status in slot.statuses:
                merged[status.name] = status.merged_with(merged.get(status.name))
        return list(merged.values())

    @property
    def ready_workers(self) -> int:
        return sum(slot.ready for slot in self._slots)

    def holding(self) -> list[str]:
        """The messages that workers are decoding, as ``topic/partition@offset``."""
        return [name for slot in self._slots if (name := slot.decoding) is not None]

    def workers(self) -> Sequence[Slot]:
        """For a look at them: the loop's thread changes them."""
        return self._slots

    def pids(self) -> list[int]:
        return [slot.process.pid for slot in self._slots if slot.process is not None]

    def _dispatch(self) -> None:
        kept: deque[Assignment] = deque()
        while self._backlog:
            assignment = self._backlog.popleft()
            work = assignment.work
            assignment.indexes = work.still_to_send(assignment.indexes)
            if not assignment.indexes:
                continue
            slot = self._choose(assignment)
            if slot is None:
                kept.append(assignment)
            else:
                self._give(slot, assignment)
        self._backlog = kept

    def _choose(self, assignment: Assignment) -> Slot | None:
        work, length = assignment.work, len(assignment.work.chunk.records)
        free = [s for s in self._slots if s.can_take(work.share) and s.regions.fits(length)]
        if assignment.alone:
            free = [slot for slot in free if not slot.tasks]
        return min(free, key=lambda slot: slot.outstanding, default=None)

    def _give(self, slot: Slot, assignment: Assignment) -> None:
        task_id, self._next_task_id = self._next_task_id, self._next_task_id + 1
        if slot.process is None:
            return
        work = assignment.work
        length = len(work.chunk.records)
        assignment.region = region = slot.regions.take(length)
        slot.process.shared.receipts[region : region + length] = bytes(length)
        slot.tasks[task_id] = assignment
        whole = self._spec.prepare is not None
        task = work.task(task_id, region, assignment.indexes, whole=whole)
        slot.process.send(slot.process.shared.lay_task(task))
        if work.share.is_draining:
            slot.process.send(protocol.encode_drain([task_id]))

    def _take_frames(self, slot: Slot) -> None:
        if slot.process is None:
            return
        if slot.process.shared.take_news():
            self._take_deliveries(slot)
        for frame in slot.process.take_frames():
            kind, fields = protocol.decode(frame)
            if kind is Kind.RECEIPTS:
                self._settle(slot, protocol.as_receipts(fields))
            elif kind is Kind.DONE:
                self._end_task(slot, fields[0])
            elif kind is Kind.STATUS:
                slot.statuses = protocol.as_statuses(fields)
            elif kind is Kind.READY:
                self._note_ready(slot, slot.process, fields[0])
            elif kind is Kind.FAILED and slot.ready:
                self.is_hopeless = True  # its disk would refuse another worker's messages, too
                self._on_failure(OutputError(fields[0]))
            elif kind is Kind.FAILED:
                slot.boot_error = BootFailure(fields[0], fields[1])

    def _note_ready(self, slot: Slot, process: WorkerHandle, at_s: float) -> None:
        slot.ready = True
        self._boots.succeeded(slot.number)
        boot_s = round(at_s - process.started_at, 2)
        log.info("worker_ready", worker=slot.number, pid=process.pid, boot_s=boot_s)

    def _settle(self, slot: Slot, receipts: Receipts) -> None:
        assignment = slot.tasks.get(receipts.task_id)
        if assignment is None:
            return
        work, share = assignment.work, assignment.work.share
        work.take(receipts, share)
        for parked in receipts.parked:
            if work.settle(parked.number):
                share.open_offsets.add(work.chunk.partition, work.chunk.offset_of(parked.number))
                share.on_parked(work.chunk, parked)
        for index, state in receipts.held:
            assert share.on_held is not None, "nothing takes what is held"
            if not work.is_settled(index):
                share.on_held(work, index, Held(*state))

    def _take_deliveries(self, slot: Slot) -> None:
        """Settle what the worker has marked as delivered; also after its death."""
        if slot.process is None:
            return
        receipts = slot.process.shared.receipts
        for assignment in slot.tasks.values():
            start, length = assignment.extent
            marks = receipts[start : start + length].tobytes()
            work = assignment.work
            work.share.outcomes.count_delivered(work.settle_delivered(marks))

    def _end_task(self, slot: Slot, task_id: int) -> None:
        """The worker writes no more into the task's region: take the last receipts, free it."""
        if task_id in slot.tasks:
            self._take_deliveries(slot)
            extent = slot.tasks.pop(task_id).extent
        else:
            extent = slot.cancelled.pop(task_id)
        slot.regions.give_back(*extent)

    def _start(self, slot: Slot) -> None:
        slot.ready = False
        slot.boot_error = None
        try:
            slot.process = self._start_worker(self._spec, slot.number, self._news.set)
        except OSError as error:
            slot.boot_error = boot_failures.describe_refusal(error)
            self._boot_failed(slot, "exit", None)
            slot.delay_restart(0.0, monotonic())
        else:
            incr("worker.started")

    def _check(self, slot: Slot) -> None:
        process = slot.process
        if process is None:
            if not self._stopping and monotonic() >= slot.restart_at:
                self.restarts += 1
                self._start(slot)
            return
        if not process.alive:
            process.join(5.0)
            self._bury(slot, cause="signal" if (process.exit_code or 0) < 0 else "exit")
        elif process.shared.silent_s > (
            self._message_timeout_s if slot.ready else max(BOOT_TIMEOUT_S, self._message_timeout_s)
        ):
            process.kill()
            self._bury(slot, cause="hang")

    def _bury(self, slot: Slot, *, cause: str) -> None:
        """See the module: steps 1 to 4."""
        process = slot.process
        if process is None:
            return
        process.join(5.0)
        self._take_frames(slot)
        self._take_deliveries(slot)
        # The last status is up to half a second older than the counts in shared memory.
        slot.statuses = [
            replace(status, accepted=accepted)
            for status, accepted in zip(slot.statuses, process.shared.accepted, strict=False)
        ]
        lived_s = monotonic() - process.started_at
        suspect = process.shared.suspect
        log.error(
            "worker_died",
            worker=slot.number,
            pid=process.pid,
            cause=cause,
            exit_code=process.exit_code,
            unacknowledged=slot.outstanding,
            holding=slot.describe(suspect),
        )
        incr("worker.died", tags={"cause": cause})
        if process.shared.losable:
            incr("capture.dropped", amount=process.shared.losable, tags={"reason": "worker_died"})
        if suspect is not None and suspect.task_id in slot.tasks:
            self._blame(slot.tasks[suspect.task_id], suspect.number, cause)
        self._give_back(slot)
        if not slot.ready:
            self._boot_failed(slot, cause, process.exit_code)
        self._retire(slot)
        slot.delay_restart(lived_s, monotonic())

    def _blame(self, assignment: Assignment, index: int, cause: str) -> None:
        work = assignment.work
        if work.is_settled(index):
            return
        work.deaths[index] += 1
        deaths = work.deaths[index]
        if deaths < MAX_DEATHS:
            assignment.indexes = [i for i in assignment.indexes if i != index]
            self._backlog.append(Assignment(work, [index], alone=True))
            return
        reason = "worker_hung" if cause == "hang" else "worker_killed"
        if work.reject(index, reason, f"{deaths} workers in a row ended while they held it"):
            work.share.outcomes.count_rejected(reason)

    def _give_back(self, slot: Slot) -> None:
        """Put the worker's tasks back, ahead of newer ones and in their order."""
        resent = slot.outstanding
        if slot.process is not None:
            for assignment in slot.tasks.values():
                start, length = assignment.extent
                marks = slot.process.shared.receipts[start : start + length].tobytes()
                assignment.work.note_accepted(marks)
        for task_id in sorted(slot.tasks, reverse=True):
            self._backlog.appendleft(slot.tasks[task_id])
        slot.tasks.clear()
        slot.cancelled.clear()
        slot.regions = Regions()
        if resent:
            incr("worker.resent", amount=resent)

    def _retire(self, slot: Slot) -> None:
        """Keep the counts of a worker that has ended."""
        for status in slot.statuses:
            merged = status.merged_with(self._gone_statuses.get(status.name))
            gone = replace(merged, state="open", pending=0, reason="")
            self._gone_statuses[status.name] = gone
        slot.statuses = []
        slot.process = None
        slot.ready = False

    def _boot_failed(self, slot: Slot, cause: str, exit_code: int | None) -> None:
        failure = slot.boot_error or boot_failures.describe_death(cause, exit_code)
        error = self._boots.failed(slot.number, failure)
        if error is not None:
            self.is_hopeless = True
            self._on_failure(error)
