"""Replays messages into another topic."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from consumers.recording.transfer_progress import TransferProgress
from consumers.replay.source import Pair, Source
from fleet.errors import FleetError
from fleet.kafka.topic_writer import TopicWriter

# Beyond the producer's own message.timeout.ms, after which it gives a message up.
_FINISH_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Replayed:
    """``acknowledged`` by the brokers; ``failure`` ended the replay before its source's end."""

    acknowledged: int = 0
    payload_bytes: int = 0
    interrupted: bool = False
    failure: FleetError | None = None


def replay_to_topic(
    batches: Iterable[list[Pair]],
    source: Source,
    writer: TopicWriter,
    progress: TransferProgress,
    *,
    keep_partitions: bool,
    stop_requested: Callable[[], bool],
) -> Replayed:
    """Write each message; blocks until the brokers have acknowledged all that was written.

    What is read before an error of the source is written all the same.
    """
    replayed = Replayed()
    try:
        for batch in batches:
            for partition, record in batch:
                writer.write(partition if keep_partitions else None, record)
                replayed.payload_bytes += record.size
            writer.poll()
            progress.show(source.done, writer.acknowledged, replayed.payload_bytes)
            if stop_requested():
                replayed.interrupted = True
                break
    except FleetError as error:
        replayed.failure = error
    try:
        writer.finish(_FINISH_TIMEOUT_S)
    except FleetError as error:
        replayed.failure = error
    replayed.acknowledged = writer.acknowledged
    return replayed
