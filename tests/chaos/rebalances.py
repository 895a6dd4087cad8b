"""Groups whose members come and go."""

from __future__ import annotations

import time

from confluent_kafka import Consumer

from tests.chaos.destinations import failing
from tests.chaos.receiver import ACCEPT
from tests.chaos.rows import row
from tests.chaos.stage import Stage
from tests.support.kafka_topics import Setting

_SESSION: dict[str, Setting] = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 300}


@row
def storm_eager(stage: Stage) -> None:
    """Rebalances of an eager group, one after the other, lose nothing and send nothing twice.

    Bound: 0
    """
    _storm(stage, {**_SESSION, "partition.assignment.strategy": "range"})


@row
def storm_cooperative(stage: Stage) -> None:
    """Rebalances of a cooperative group lose nothing and send nothing twice.

    Bound: 0
    """
    _storm(stage, {**_SESSION, "partition.assignment.strategy": "cooperative-sticky"})


@row
def storm_consumer_protocol(stage: Stage) -> None:
    """Rebalances by the brokers (KIP-848) lose nothing and send nothing twice.

    Bound: 0
    """
    _storm(stage, {"group.protocol": "consumer"})


@row
def storm_static(stage: Stage) -> None:
    """Rebalances of a group with static members, which also restart, lose and repeat nothing.

    Bound: 0
    """
    _storm(stage, {**_SESSION, "partition.assignment.strategy": "range"}, static=True)


def _storm(stage: Stage, settings: dict[str, Setting], *, static: bool = False) -> None:
    """Two consumers, and others that join, read for a moment, and leave without a commit."""
    for name, value in settings.items():
        stage.arguments += ("--kafka-config", f"{name}={value}")
    # Some answers take half a second, so that a rebalance finds messages on the wire.
    stage.upstream.script = failing(stage.seed, 0.02, [ACCEPT._replace(bytes_per_s=250)])
    count = stage.scaled(12_000)
    storms = stage.scaled(25, 4)
    stage.fill(8, count)
    for number in range(2):
        stage.start(*_static(number, static=static))
    stage.wait_for_accepted(count // 2)
    with stage.feeding(count, max(200, count // storms)):
        for number in range(storms):
            _jostle(stage, settings)
            if static and number % 5 == 4:
                stage.terminate(stage.members[0])
                stage.start(*_static(number // 5 % 2, static=True))
    stage.finish()


def _static(number: int, *, static: bool) -> tuple[str, ...]:
    return ("--kafka-config", f"group.instance.id=member-{number}") if static else ()


def _jostle(stage: Stage, settings: dict[str, Setting]) -> None:
    config = stage.kafka.client_config(
        group_id=stage.group, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    guest = Consumer(config | settings)
    guest.subscribe([stage.topic])
    leaves_at = time.monotonic() + stage.chance.uniform(0.1, 1.5)
    while time.monotonic() < leaves_at:
        guest.consume(10, 0.05)
    guest.close()
    stage.faults["members that came and went"] += 1
