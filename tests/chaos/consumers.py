"""Consumers that die, stop and freeze."""

from __future__ import annotations

import signal

from tests.chaos.rows import row
from tests.chaos.stage import Stage, partitions_of
from tests.support.processes import wait_until

SESSION = ("--kafka-config", "session.timeout.ms=3000,heartbeat.interval.ms=500")


@row
def kills(stage: Stage) -> None:
    """Consumers that are killed lose nothing.

    Three consumers share 8 partitions; 60 times, one gets SIGKILL and another takes its place.

    Bound: what the killed one had delivered since its last commit
    """
    stage.arguments += SESSION
    stage.fill(8, stage.scaled(200_000))
    for _ in range(3):
        stage.start()
    for moment in stage.moments(stage.scaled(60)):
        stage.wait_for_accepted(moment)
        stage.kill(stage.chance.choice(stage.members))
        stage.start()
    stage.finish()


@row
def rolling(stage: Stage) -> None:
    """A rolling restart by SIGTERM loses nothing and sends nothing twice.

    Bound: 0
    """
    count = stage.scaled(24_000)
    restarts = stage.scaled(12, 2)
    stage.fill(8, count)
    for _ in range(3):
        stage.start()
    with stage.feeding(count, 1500):
        for number in range(restarts):
            stage.wait_for_accepted(count + count * number // (restarts + 1))
            # As a rollout does: a signal during the boot ends a consumer at once, with 143.
            stage.members[-1].wait_for("partitions_assigned")
            stage.terminate(stage.members[0])
            stage.start()
    stage.finish()


@row
def frozen(stage: Stage) -> None:
    """A consumer that is frozen past its session loses nothing once it wakes up.

    SIGSTOP holds it until another one has its partitions; then SIGCONT.

    Bound: what the frozen one had delivered since its last commit
    """
    stage.arguments += SESSION
    freezes = stage.scaled(6)
    stage.fill(4, stage.scaled(60_000, 4000))
    for _ in range(2):
        stage.start()
    for moment in stage.moments(freezes):
        stage.wait_for_accepted(moment)
        wait_until(
            lambda: all(partitions_of(member) for member in stage.members),
            timeout_s=60,
            what="both consumers to have partitions",
        )
        frozen, other = stage.chance.sample(stage.members, 2)
        held = partitions_of(frozen)
        before = stage.judge.commits()
        frozen.signal(signal.SIGSTOP)
        stage.faults["consumer SIGSTOP"] += 1
        wait_until(
            lambda other=other, held=held: set(held) <= set(partitions_of(other)),  # type: ignore[misc]
            timeout_s=60,
            what="the other one to take over",
        )
        # Its workers are not frozen: they go on with what they have.
        stage.bound += stage.ledger.exposed(before, held)
        frozen.signal(signal.SIGCONT)
    stage.finish()
