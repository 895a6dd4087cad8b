"""An hour of a fleet's figures, for tests without Kafka and for the documentation's pictures."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from consumer_fleet.inspector.fleet import (
    BUCKET_S,
    ConsumerView,
    DestinationView,
    FleetBoard,
    FleetView,
    HeldBack,
    PartitionView,
    WorkerView,
)

_HOUR_S = 3600
_DAY_S = 86_400


def quiet(at_s: float) -> FleetView:
    """One consumer that delivers, at a moment."""
    partitions = tuple(
        PartitionView(index, 48_200 + 17 * index, 48_210 + 17 * index, 10, oldest_s=0.4)
        for index in range(4)
    )
    consumer = ConsumerView(
        *("events", "events", "consumer-fleet-events", "delivering", 0, ()),
        lag=40,
        rate=812.0,
        delivered=2_450_118,
        filtered=101_223,
        dead_lettered=3,
        oldest_s=0.4,
        time_to_loss_s=6.9 * _DAY_S,
        destinations=(DestinationView("upstream", "open", 0, None, 2_450_118, 0, 0),),
        partitions=partitions,
    )
    workers = tuple(WorkerView(number, 411 + number, "ready", 0, None, 412) for number in (1, 2))
    return FleetView(at_s, (consumer,), workers)


def troubled_hour(board: FleetBoard) -> None:
    """Publish an hour that ends now: one consumer delivers; of the other, the second destination
    refuses since ten minutes and a message is held back, and a worker was killed.
    """
    now = time.time()
    for ago in range(_HOUR_S, -1, -BUCKET_S):
        board.publish(_moment(now - ago, _HOUR_S - ago))


def _moment(at_s: float, elapsed: int) -> FleetView:
    wave = 1 + 0.3 * math.sin(elapsed / 200) + 0.1 * math.sin(elapsed / 23)
    (events,) = quiet(at_s).consumers
    done = int(812 * elapsed + 60_000 * math.sin(elapsed / 200))
    upstream = DestinationView("upstream", "open", 0, None, 2_450_118 + done, elapsed // 600, 0)
    events = replace(
        events,
        rate=812 * wave,
        lag=int(40 * wave),
        filtered=101_223 + elapsed * 35,
        destinations=(upstream,),
    )
    workers = quiet(at_s).workers
    if elapsed >= _HOUR_S - 20:
        ago = _HOUR_S - elapsed + 4
        cause = f"process 412 was ended by SIGKILL {ago}s ago"
        workers = (replace(workers[0], pid=733, severity=1, cause=cause), workers[1])
    return FleetView(at_s, (events, _transactions(elapsed)), workers)


def _transactions(elapsed: int) -> ConsumerView:
    refused_for = max(0, elapsed - (_HOUR_S - 600))
    moved = elapsed - refused_for
    lag = 20 + 95 * refused_for
    causes: tuple[str, ...] = ()
    saas = DestinationView("saas", "open", 0, None, 800_000 + 95 * moved, 4, 0)
    held_back = None
    if refused_for:
        answer = "HTTP 403: key is disabled; check that the project is enabled"
        saas = replace(
            saas, state="paused", severity=2, cause=answer, retried=4 + refused_for // 30
        )
        held_back = HeldBack(310_442, "saas", answer, refused_for)
        causes = (f"lag grows: 95/s arrive, 0/s settled; {64} envelopes on the way to saas",)
    return ConsumerView(
        *("ingest-transactions", "ingest-transactions", "consumer-fleet-ingest-transactions"),
        *("lag grows" if refused_for else "delivering", 1 if refused_for else 0, causes),
        lag=lag,
        rate=0.0 if refused_for else 95.0,
        delivered=790_000 + 95 * moved,
        filtered=0,
        dead_lettered=12,
        oldest_s=float(refused_for) or 0.3,
        time_to_loss_s=2.0 * _DAY_S - refused_for,
        destinations=(
            DestinationView("upstream", "open", 0, None, 800_000 + 95 * moved, 1, 0),
            saas,
        ),
        partitions=(
            PartitionView(
                0, 310_442, 310_442 + lag, lag, oldest_s=refused_for or 0.3, held_back=held_back
            ),
            PartitionView(1, 298_116, 298_116, 0),
        ),
    )
