"""A commit that is refused for good ends the run; one that may succeed later does not."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from consumer_fleet.errors import ConfigurationError, FleetError
from consumer_fleet.kafka.consumer import ChunkConsumer


@pytest.mark.parametrize(
    ("code", "ends"),
    [
        (KafkaError.GROUP_AUTHORIZATION_FAILED, True),
        (KafkaError.FENCED_INSTANCE_ID, True),
        (KafkaError.REBALANCE_IN_PROGRESS, False),
        (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, False),
        (KafkaError._TIMED_OUT, False),
    ],
)
def test_a_commit_that_no_retry_saves_ends_the_run(code: int, *, ends: bool) -> None:
    failures: list[FleetError] = []
    consumer = ChunkConsumer(
        {"group.id": "group"},
        offset_policy="earliest",
        on_failure=failures.append,
        on_poll=lambda: None,
        on_offsets_lost=lambda _partition, _count: None,
    )
    consumer._on_commit(KafkaError(code), [])
    consumer.close()
    assert [type(failure) for failure in failures] == [ConfigurationError] * ends
