"""Where a partition begins: at its committed offset, or by the policy."""

from __future__ import annotations

from collections.abc import Callable
from time import sleep
from typing import Literal, TypeAlias, TypeVar

import structlog
from arroyo.types import Partition
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaException, TopicPartition

from consumer_fleet.errors import KafkaUnreachable, OffsetsOutOfRange
from consumer_fleet.kafka.chunk import name_of
from consumer_fleet.kafka.clients import answered
from consumer_fleet.kafka.groups import reset_command

log = structlog.get_logger(__name__)

_Answer = TypeVar("_Answer")
OffsetPolicy: TypeAlias = Literal["earliest", "latest", "error"]

# A coordinator that moves is back within seconds; five of these end a run that can't start.
_REQUEST_TIMEOUT_S = 10.0
_ATTEMPTS = 5
# Between attempts. Some failures are immediate: the client does not know a partition that was added
# a moment ago, and looks for it meanwhile.
_PAUSE_S = 1.0


class StartingOffsets:
    """Asks the brokers, and blocks on them. Raises KafkaUnreachable where none answers."""

    def __init__(self, client: KafkaConsumer, policy: OffsetPolicy, group: str) -> None:
        self._client = client
        self.policy = policy
        self._group = group

    def committed(self, targets: list[TopicPartition]) -> list[TopicPartition]:
        """What the group has committed for these."""
        return _patiently(
            lambda: answered(self._client.committed(targets, timeout=_REQUEST_TIMEOUT_S)),
            "the group's committed offsets",
        )

    def _watermarks(self, partition: Partition) -> tuple[int, int]:
        target = TopicPartition(partition.topic.name, partition.index)
        low, high = _patiently(
            lambda: self._client.get_watermark_offsets(target, timeout=_REQUEST_TIMEOUT_S),
            f"the offsets of {name_of(partition)}",
        )
        return low, high

    def by_policy(self, partition: Partition, lost_from: int | None) -> int:
        """The offset by the policy; ``lost_from`` is the position that the broker no longer
        stores, if there is one. Raises OffsetsOutOfRange where the policy is ``error``.
        """
        low, high = self._watermarks(partition)
        if self.policy == "error":
            raise self._refusal(partition, low, high, lost_from)
        return high if self.policy == "latest" else low

    def _refusal(
        self, partition: Partition, low: int, high: int, lost_from: int | None
    ) -> OffsetsOutOfRange:
        if lost_from is None:
            position, advice = (
                "has no committed offset",
                "choose earliest or latest for a first run",
            )
        else:
            command = reset_command(self._group, partition.topic.name)
            position = f"is at offset {lost_from}"
            advice = f"see what is lost, and move past it with --execute: {command}"
        return OffsetsOutOfRange(
            f"{name_of(partition)} {position}, the broker stores {low} to {high}, and "
            f"auto_offset_reset is 'error': {advice}"
        )


def _patiently(ask: Callable[[], _Answer], what: str) -> _Answer:
    """Retry while there is no answer, with a pause between. Raises KafkaUnreachable."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return ask()
        except KafkaException as error:
            log.warning("offsets_unavailable", what=what, error=str(error), attempt=attempt)
        if attempt < _ATTEMPTS:
            sleep(_PAUSE_S)
    raise KafkaUnreachable(f"{what} could not be read")
