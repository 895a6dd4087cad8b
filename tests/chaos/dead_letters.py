"""Dead-letter topics that refuse, and that are deleted."""

from __future__ import annotations

import time

from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from tests.chaos.destinations import UNAVAILABLE, failing
from tests.chaos.receiver import Answer, response
from tests.chaos.rows import waiting_row
from tests.chaos.stage import Stage

_REFUSAL = Answer(response("400 Bad Request"), accepts=False)
_REQUEST_TIMEOUT_S = 30


@waiting_row
def dead_letters_refused(stage: Stage) -> None:
    """While the dead-letter topic refuses, nothing is committed past a rejected message.

    It goes on by itself when the topic accepts again.

    Bound: 0
    """
    letters = f"{stage.topic}-dlq"
    stage.kafka.create_topic(letters, 1, {"max.message.bytes": 100})
    _start_rejecting(stage)
    time.sleep(stage.scaled(30, 4))
    _set(stage, letters, "max.message.bytes", "1000000")
    _finish(stage)


@waiting_row
def dead_letters_deleted(stage: Stage) -> None:
    """A dead-letter topic that is deleted loses no message that is rejected after that.

    The run goes on once the topic exists again.

    Bound: 0
    """
    letters = f"{stage.topic}-dlq"
    stage.kafka.create_topic(letters)
    _start_rejecting(stage)
    stage.wait_for_accepted(stage.ledger.messages // 3)
    # The letters that go with the topic are those that the oracle has read.
    script, stage.upstream.script = stage.upstream.script, lambda _: UNAVAILABLE
    stage.members[0].wait_for("destination_backing_off")
    stage.judge.dead_letter_count()
    stage.kafka.delete_topic(letters)
    stage.judge.forget_dead_letter_offsets()
    stage.faults["topic deleted"] += 1
    stage.upstream.script = script
    time.sleep(stage.scaled(60, 4))
    stage.kafka.create_topic(letters)
    _finish(stage)


def _start_rejecting(stage: Stage) -> None:
    stage.upstream.script = failing(stage.seed, 0.005, [_REFUSAL])
    stage.fill(4, stage.scaled(20_000))
    stage.start(workers=2)


def _finish(stage: Stage) -> None:
    stage.finish()
    rejected = stage.ledger.messages - stage.upstream.distinct
    stage.faults["rejected messages"] += rejected
    stage.dead_letters_expected = range(rejected, rejected + 1)


def _set(stage: Stage, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    stage.kafka.admin.incremental_alter_configs([resource])[resource].result(_REQUEST_TIMEOUT_S)
