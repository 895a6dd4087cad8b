"""Every metric of the program, declared once, as data; ``docs/metrics.md`` is generated from it.

Run ``make docs`` after a change; a test fails on a difference. Arroyo's own metrics are not listed
here: ``metrics/arroyo_bridge.py`` takes their names from ``arroyo.utils.metric_defs``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["counter", "gauge", "timing", "distribution"]


class UndeclaredMetric(KeyError):
    """A metric or a tag is not declared, or not as that kind, or a value is not a finite number.

    Raised in strict mode only (in tests): it always means a bug in this program.
    """

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the repr of the whole sentence


@dataclass(frozen=True, slots=True)
class Metric:
    """The meaning of one name.

    ``tags`` are the keys that a call may give, global and thread tags aside; None means any.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    tags: tuple[str, ...] | None = ()


DEFINITIONS: tuple[Metric, ...] = (
    Metric(
        "consumer.messages",
        "counter",
        "messages",
        "Settled messages, by outcome: delivered, filtered or rejected.",
        ("outcome",),
    ),
    Metric(
        "consumer.filtered",
        "counter",
        "messages",
        "Messages that carry nothing to deliver, by reason.",
        ("reason",),
    ),
    Metric(
        "consumer.rejected",
        "counter",
        "messages",
        "Messages that can never be delivered and became dead letters, by reason.",
        ("reason",),
    ),
    Metric(
        "transform.dropped",
        "counter",
        "items",
        "Events that a transform dropped, by item type.",
        ("type",),
    ),
    Metric(
        "schema.checked",
        "counter",
        "messages",
        "Messages that were compared with the schema of their topic, by result: valid or invalid.",
        ("result",),
    ),
    Metric(
        "attachments.missing_chunks",
        "counter",
        "attachments",
        "Attachments that their event went without, because chunks of them are missing.",
    ),
    Metric(
        "attachments.object_store",
        "counter",
        "attachments",
        "Attachments that their event went without, because Sentry's object store holds them.",
    ),
    Metric(
        "attachments.waiting_bytes",
        "gauge",
        "bytes",
        "Disk that attachments take while they wait for their chunks or are sent.",
    ),
    Metric(
        "consumer.latency_s",
        "distribution",
        "seconds",
        "Time from a message's timestamp in Kafka to its settlement (mostly: its acceptance). Of "
        "the messages of a partition that are settled together, the one that waited longest.",
    ),
    Metric(
        "consumer.held_messages",
        "counter",
        "messages",
        "Messages that their destination limits or refuses alone, and that others may pass.",
        ("kind",),
    ),
    Metric(
        "consumer.held",
        "gauge",
        "messages",
        "Messages that are held now: limited, failing or unavailable.",
        ("kind",),
    ),
    Metric(
        "consumer.lag",
        "gauge",
        "messages",
        "Messages between the settled offset and the end of a partition.",
        ("partition",),
    ),
    Metric(
        "consumer.topic_recreated",
        "counter",
        "topics",
        "Topics that were deleted and created again while they were read.",
    ),
    Metric(
        "consumer.offsets_lost",
        "counter",
        "offsets",
        "Offsets that the broker deleted before they were read.",
        ("partition",),
    ),
    Metric(
        "consumer.time_to_loss_s",
        "gauge",
        "seconds",
        "How soon retention may delete the oldest message in flight. Not sent where nothing is in "
        "flight or nothing expires.",
        ("partition",),
    ),
    Metric(
        "consumer.in_flight_bytes",
        "gauge",
        "bytes",
        "Raw bytes held in memory until their receipts arrive.",
    ),
    Metric("consumer.partitions", "gauge", "partitions", "Partitions assigned to this consumer."),
    Metric("dlq.produced", "counter", "messages", "Dead letters that the broker acknowledged."),
    Metric(
        "dlq.failed",
        "counter",
        "messages",
        "Failed attempts to dead-letter a message; the message is kept and retried.",
    ),
    Metric("worker.started", "counter", "workers", "Worker processes started, restarts included."),
    Metric(
        "worker.died",
        "counter",
        "workers",
        "Workers lost before they were told to stop, by cause: exit, signal or hang.",
        ("cause",),
    ),
    Metric(
        "worker.resent",
        "counter",
        "messages",
        "Messages handed to another worker because the first one died with them.",
    ),
    Metric(
        "capture.accepted",
        "counter",
        "envelopes",
        "Envelopes that a destination accepted.",
        ("destination",),
    ),
    Metric(
        "capture.request_s",
        "distribution",
        "seconds",
        "Time from the start of a request to the end of its response. In each process, and for "
        "each destination, at most 20 requests a second are measured.",
        ("destination",),
    ),
    Metric(
        "capture.retried",
        "counter",
        "requests",
        "Requests that failed temporarily and are retried, by cause.",
        ("destination", "cause"),
    ),
    Metric(
        "capture.ambiguous",
        "counter",
        "requests",
        "Requests whose connection broke before the response: the retry may be a duplicate.",
        ("destination",),
    ),
    Metric(
        "capture.rejected",
        "counter",
        "envelopes",
        "Envelopes that a destination refused for good, by HTTP status.",
        ("destination", "status"),
    ),
    Metric(
        "capture.filtered",
        "counter",
        "envelopes",
        "Envelopes that had nothing left for a destination after filtering.",
        ("destination",),
    ),
    Metric(
        "capture.dropped",
        "counter",
        "envelopes",
        "Envelopes not sent to a destination that is not required, by reason.",
        ("destination", "reason"),
    ),
    Metric(
        "capture.throttled",
        "counter",
        "responses",
        "Responses of a destination that set a rate limit; the data is held until it ends.",
        ("destination",),
    ),
    Metric(
        "capture.paused",
        "counter",
        "responses",
        "Responses that refuse the DSN and so pause a destination or keep it paused, by status;"
        " and pauses because of a circle.",
        ("destination", "status"),
    ),
    Metric(
        "internal.captured.events.upstream",
        "counter",
        "envelopes",
        "Envelopes captured for the upstream.",
    ),
    Metric(
        "internal.captured.events.relay",
        "counter",
        "envelopes",
        "Envelopes captured for the saas destination.",
    ),
    Metric(
        "internal.uncaptured.events.relay",
        "counter",
        "envelopes",
        "Envelopes kept from the saas destination, by reason.",
        ("reason",),
    ),
    Metric(
        "internal.captured.events.envelopes",
        "counter",
        "envelopes",
        "Envelopes that the program's own SDK captured.",
    ),
    Metric(
        "internal.captured.events.transactions",
        "counter",
        "envelopes",
        "Transactions that the program's own SDK captured.",
    ),
    Metric(
        "internal.sent_requests",
        "counter",
        "requests",
        "Requests sent to a destination, retries included.",
        ("destination",),
    ),
    Metric(
        "internal.lost_events",
        "counter",
        "items",
        "Items of the program's own SDK that were lost, by reason and data category.",
        ("reason", "category"),
    ),
    Metric(
        "metrics.dropped",
        "counter",
        "measurements",
        "Timings and distributions dropped because the metrics backend does not keep up.",
    ),
)


def index(metrics: Iterable[Metric]) -> dict[str, Metric]:
    """The metrics by name. Raises ValueError where a name is declared twice."""
    by_name: dict[str, Metric] = {}
    for metric in metrics:
        if metric.name in by_name:
            raise ValueError(f"metric {metric.name!r} is declared twice")
        by_name[metric.name] = metric
    return by_name
