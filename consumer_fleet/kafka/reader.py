"""Reads ranges of offsets without joining a group: nothing is committed, no group rebalances."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Self, TypeAlias

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage
from confluent_kafka.admin import ClusterMetadata

from consumer_fleet.errors import ConfigurationError, KafkaUnreachable
from consumer_fleet.kafka.broker_watch import BrokerWatch
from consumer_fleet.kafka.clients import (
    OUT_OF_RANGE,
    ask_patiently,
    fetch_metadata,
    is_fatal,
    is_moving,
    login_refusal,
    make_client,
    unjoined_config,
)
from consumer_fleet.kafka.offset_spec import EARLIEST, LATEST, OffsetSpec
from consumer_fleet.kafka.receive_limit import ReceiveLimit

log = structlog.get_logger(__name__)

#: A partition by its topic's name and its index.
PartitionId: TypeAlias = tuple[str, int]

_METADATA_TIMEOUT_S = 5.0
_REQUEST_TIMEOUT_S = 15.0
# Not of a group: reading joins none, so a group that it may not use is no obstacle.
_NO_ACCESS = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)


class Range(NamedTuple):
    """Offsets of one partition, ``end`` excluded. Both exist or have existed: it may be empty."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return max(0, self.end - self.start)


def named(positions: Mapping[PartitionId, int]) -> str:
    """Positions of which one has the message that is meant, for a person."""
    return ", ".join(
        f"{topic}/{index} at or after offset {offset}"
        for (topic, index), offset in sorted(positions.items())
    )


class TopicReader:
    """Reads each partition of one topic from ``start`` to ``end``; without an end, forever.

    The range is fixed at construction, which blocks on the broker. Where it asks for offsets that
    are gone, it says so once, in ``gone`` and in the log, and begins with the oldest. Raises
    ConfigurationError for an unknown topic or partition, KafkaUnreachable where no broker
    responds. Used from one thread; a context manager.
    """

    def __init__(
        self,
        base_config: Mapping[str, Any],
        topic: str,
        *,
        start: OffsetSpec = EARLIEST,
        end: OffsetSpec | None = LATEST,
        partitions: Collection[int] | None = None,
        patience_s: float = 60.0,
    ) -> None:
        self.topic = topic
        #: How many partitions the topic has, whichever are read.
        self.partitions = 0
        self.cluster_id: str | None = None
        self._error: KafkaError | None = None
        self._patience_s = patience_s
        self._idle_s = 0.0
        self._limit = ReceiveLimit(
            {
                **unjoined_config(base_config),
                "allow.auto.create.topics": False,
                "error_cb": self._on_client_error,
            }
        )
        self._next: dict[int, int] = {}
        self._open: set[int] = set()
        self._follows = end is None
        self._connect()
        try:
            #: Partition → its range. Without an end, the end is where the partition ends now.
            self.ranges = self._find_ranges(start, end, partitions)
        except BaseException:
            self._client.close()
            raise
        self._next = {index: span.start for index, span in self.ranges.items()}
        self._open = {index for index, span in self.ranges.items() if self._follows or span.size}
        self._assign()

    def _connect(self) -> None:
        self._brokers = BrokerWatch()
        self._client = make_client(Consumer, {**self._limit.take(), **self._brokers.settings})

    def _assign(self) -> None:
        self._client.assign(
            [TopicPartition(self.topic, index, self._next[index]) for index in sorted(self._open)]
        )

    # -- reading --------------------------------------------------------------------------------

    def read(self, max_messages: int = 1000, timeout_s: float = 0.5) -> list[KafkaMessage]:
        """Messages of the range, in offset order by partition; none if ``timeout_s`` passes first.

        Raises KafkaUnreachable where the client has failed for good, ConfigurationError where the
        topic may not be read or what was to be read is gone.
        """
        if not self._open:
            return []
        try:
            messages = self._client.consume(max_messages, timeout_s)
        except KafkaException as error:
            raise self._unreachable(error.args[0]) from error
        if self._brokers.login_refused is not None:
            raise login_refusal(self._brokers.login_refused)
        if self._error is not None:
            raise self._unreachable(self._error)
        self._check_progress(messages, timeout_s)
        taken = self._take(messages)
        if self._brokers.none_known or self._limit.is_outgrown:
            self._connect()
            self._assign()
        return taken

    @property
    def at_end(self) -> bool:
        """Every partition was read to its end. Never true without an end."""
        return not self._open

    @property
    def total(self) -> int:
        """Offsets in the range: at least as many as there are messages in it."""
        return sum(span.size for span in self.ranges.values())

    @property
    def done(self) -> int:
        """Offsets of the range that are behind the position, gaps included."""
        return sum(self._next[index] - span.start for index, span in self.ranges.items())

    def positions(self) -> dict[int, int]:
        """Partition → the next offset to read."""
        return dict(self._next)

    def _check_progress(self, messages: list[KafkaMessage], timeout_s: float) -> None:
        # What lies before the end exists: if nothing arrives for long, the brokers are away.
        self._idle_s = 0.0 if messages or self._follows else self._idle_s + timeout_s
        if self._idle_s > self._patience_s:
            raise KafkaUnreachable(
                f"topic {self.topic!r}: no message for {self._patience_s:g} s, with "
                f"{self.total - self.done:,} still to read; check that its brokers are up"
            )

    def _take(self, messages: list[KafkaMessage]) -> list[KafkaMessage]:
        taken: list[KafkaMessage] = []
        for message in messages:
            index = message.partition() or 0
            error = message.error()
            if index not in self._open:
                continue
            if error is None:
                offset = message.offset() or 0
                if self._follows or offset < self.ranges[index].end:
                    taken.append(message)
                    self._next[index] = offset + 1
                else:
                    self._next[index] = self.ranges[index].end
            elif error.code() == KafkaError._PARTITION_EOF:
                # Past the last message where a control record or a compacted gap ends the log.
                self._next[index] = max(self._next[index], message.offset() or 0)
            else:
                self._raise(error, index)
            if not self._follows and self._next[index] >= self.ranges[index].end:
                self._next[index] = self.ranges[index].end
                self._open.discard(index)
                # Stop fetching what lies past the end.
                self._client.incremental_unassign([TopicPartition(self.topic, index)])
        return taken

    def _raise(self, error: KafkaError, index: int) -> None:
        if error.code() in OUT_OF_RANGE:
            raise ConfigurationError(
                f"{self.topic}/{index}: offset {self._next[index]} was deleted by retention while "
                "it was to be read: start again from earliest"
            )
        if error.code() in _NO_ACCESS:
            raise ConfigurationError(f"topic {self.topic!r}: {error.str()}")
        if is_fatal(error):
            raise self._unreachable(error)
        if not self._limit.note(error, named({(self.topic, index): self._next[index]})):
            log.warning("kafka_error", error=error.str())

    def _on_client_error(self, error: KafkaError) -> None:
        positions = {(self.topic, index): self._next[index] for index in self._open}
        if self._limit.note(error, named(positions)) or self._brokers.note(error):
            return
        if is_fatal(error):
            self._error = error

    def _unreachable(self, error: KafkaError) -> KafkaUnreachable:
        return KafkaUnreachable(f"topic {self.topic!r}: {error.str()}")

    # -- the range ------------------------------------------------------------------------------

    def _find_ranges(
        self, start: OffsetSpec, end: OffsetSpec | None, partitions: Collection[int] | None
    ) -> dict[int, Range]:
        self.watermarks = {index: self._watermarks(index) for index in self._present(partitions)}
        starts = self._resolve(start)
        ends = self._resolve(LATEST if end is None else end)
        self.gone = self._gone(start, end)
        return {index: Range(first, ends[index]) for index, first in starts.items()}

    def _present(self, wanted: Collection[int] | None) -> list[int]:
        def ask() -> ClusterMetadata:
            metadata = fetch_metadata(
                self._client,
                _METADATA_TIMEOUT_S,
                lambda: str(self._brokers.login_refused or ""),
                self.topic,
            )
            refusal = metadata.topics[self.topic].error
            if refusal is not None and is_moving(refusal):
                raise KafkaException(refusal)
            return metadata

        try:
            metadata = ask_patiently(ask, _REQUEST_TIMEOUT_S)
        except KafkaException as error:
            if self._brokers.login_refused is not None:
                raise login_refusal(self._brokers.login_refused) from error
            why = f"{error.args[0].str()}{self._brokers.because}"
            raise KafkaUnreachable(
                f"topic {self.topic!r}: {why}; check --bootstrap-servers, the network and the TLS "
                "or SASL settings"
            ) from error
        found = metadata.topics[self.topic]
        if found.error is not None:
            raise ConfigurationError(f"topic {self.topic!r}: {found.error.str()}")
        present = sorted(found.partitions)
        self.partitions = len(present)
        self.cluster_id = metadata.cluster_id
        unknown = sorted(set(wanted or ()) - set(present))
        if unknown:
            raise ConfigurationError(
                f"topic {self.topic!r} has no partition {unknown[0]}: it has {len(present)}"
            )
        return present if wanted is None else sorted(set(wanted))

    def _watermarks(self, index: int) -> Range:
        target = TopicPartition(self.topic, index)
        try:
            low, high = ask_patiently(
                lambda: self._client.get_watermark_offsets(target, timeout=_REQUEST_TIMEOUT_S),
                _REQUEST_TIMEOUT_S,
            )
        except KafkaException as error:
            raise KafkaUnreachable(f"{self.topic}/{index}: {error.args[0].str()}") from error
        return Range(low, high)

    def _resolve(self, spec: OffsetSpec) -> dict[int, int]:
        """By partition an offset within its watermarks; a relative one counts from the end."""
        if spec.kind == "time":
            return self._at_time(spec.number)
        offsets = {}
        for index, (low, high) in self.watermarks.items():
            known = {"earliest": low, "latest": high, "relative": high + spec.number}
            offsets[index] = min(max(known.get(spec.kind, spec.number), low), high)
        return offsets

    def _at_time(self, timestamp_ms: int) -> dict[int, int]:
        """By partition the first offset with that timestamp or a later one; its end if none has."""
        targets = [TopicPartition(self.topic, index, timestamp_ms) for index in self.watermarks]
        try:
            found = ask_patiently(
                lambda: self._client.offsets_for_times(targets, timeout=_REQUEST_TIMEOUT_S),
                _REQUEST_TIMEOUT_S,
            )
        except KafkaException as error:
            raise self._unreachable(error.args[0]) from error
        return {
            target.partition: target.offset
            if target.offset >= 0
            else self.watermarks[target.partition].end
            for target in found
        }

    def _gone(self, start: OffsetSpec, end: OffsetSpec | None) -> dict[int, int]:
        """Partition → how many offsets that were asked for by number are no longer stored."""
        if start.kind != "offset":
            return {}
        gone = {}
        for index, (low, _) in self.watermarks.items():
            until = low if end is None or end.kind != "offset" else min(low, end.number)
            if start.number < until:
                gone[index] = until - start.number
                log.warning(
                    "offsets_gone",
                    topic=self.topic,
                    partition=index,
                    asked_for=start.number,
                    oldest=low,
                    gone=gone[index],
                )
        return gone

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
