"""Topics that change under a consumer."""

from __future__ import annotations

import time

from tests.chaos.consumers import SESSION
from tests.chaos.destinations import UNAVAILABLE
from tests.chaos.oracle import Ledger
from tests.chaos.receiver import ACCEPT
from tests.chaos.rows import row
from tests.chaos.stage import Stage


@row
def retention_cut(stage: Stage) -> None:
    """Where retention overtakes a consumer that is then killed, all that Kafka still has arrives.

    Messages that were deleted before they were read are the only ones missing.

    Bound: what the killed one had delivered since its last commit
    """
    stage.arguments += SESSION
    stage.fill(4, stage.scaled(10_000))
    consumer = stage.start(workers=2)
    stage.wait_for_commit()
    known = stage.upstream.distinct + 1000
    stage.upstream.script = lambda _: UNAVAILABLE if stage.upstream.distinct >= known else ACCEPT
    stage.produce(stage.scaled(40_000, 8000))
    stage.wait_for_accepted(known)
    cut = {index: end * 3 // 4 for index, end in stage.ledger.ends.items()}
    stage.ledger.deleted_below.update(cut)
    stage.kafka.delete_records(stage.topic, cut)
    stage.faults["retention"] += 1
    stage.kill(consumer)
    stage.upstream.script = lambda _: ACCEPT
    successor = stage.start(workers=2)
    stage.finish()
    if not successor.events("offsets_out_of_range"):
        stage.judge.problems.append("the deleted messages are in no log")


@row
def partitions_added(stage: Stage) -> None:
    """Partitions that are added while the consumer runs are read from their start.

    Bound: 0
    """
    stage.arguments += ("--kafka-config", "topic.metadata.refresh.interval.ms=2000")
    stage.fill(2, stage.scaled(10_000))
    stage.start(workers=2)
    for total in (4, 8):
        stage.wait_for_accepted(stage.ledger.messages * 3 // 4)
        stage.add_partitions(total)
        stage.faults["partitions added"] += 1
        stage.produce(stage.scaled(10_000))
    stage.finish()


@row
def topic_recreated(stage: Stage) -> None:
    """A topic that is created again under the consumer is read from its start.

    Each time, it has other messages, and a few more.

    Bound: what it read of the new topic before it noticed the new ID
    """
    stage.fill(4, stage.scaled(20_000))
    consumer = stage.start(workers=2)
    for generation in range(1, 4):
        # A commit tells the oracle the old topic's ID.
        stage.wait_for_commit()
        ledger = Ledger(stage.topic, [stage.upstream], generation=generation)
        ledger.ends.update(dict.fromkeys(stage.ledger.ends, 0))
        stage.recreate_topic(ledger)
        stage.faults["topic recreated"] += 1
        stage.produce(stage.scaled(20_000) + 1000 * generation)
        consumer.wait_for("topic_recreated", generation)
        stage.bound += ledger.exposed({}, list(ledger.ends))
    stage.finish()


@row
def topic_deleted(stage: Stage) -> None:
    """A topic that is deleted ends the run with 78 within 10 s, and nothing accepted repeats.

    Bound: 0
    """
    stage.fill(4, stage.scaled(20_000))
    consumer = stage.start(workers=2)
    stage.wait_for_accepted(stage.ledger.messages // 2)
    deleted_at = time.monotonic()
    stage.kafka.delete_topic(stage.topic)
    stage.faults["topic deleted"] += 1
    stage.wait_for_end(consumer, 78)
    if time.monotonic() - deleted_at > 12:
        stage.judge.problems.append("it took more than 10 s")
    # What the topic still held went with it.
    stage.ledger.deleted_below.update(stage.ledger.ends)
