"""A report as one JSON document; docs/offsets.md describes it, and its names are stable."""

from __future__ import annotations

from typing import Any

from consumers.figures import moment
from consumers.status.findings import Finding
from consumers.status.report import ConsumerStatus, PartitionStatus, Report


def document(report: Report, findings: list[Finding], notes: list[str]) -> dict[str, Any]:
    return {
        "at": iso_time(int(report.at_s * 1000)),
        "consumers": [_consumer(status, report.at_s) for status in report.consumers],
        "findings": [
            {
                "kind": finding.kind,
                "name": finding.name,
                "group": finding.group,
                "topic": finding.topic,
                "partitions": list(finding.partitions),
                "text": finding.text,
                "command": finding.command,
            }
            for finding in findings
        ],
        "unread": report.unread,
        "dead_letters": {topic: each.waiting for topic, each in report.dead_letters.items()},
        "dead_letters_held": {topic: each.held for topic, each in report.dead_letters.items()},
        "notes": notes,
    }


def _consumer(status: ConsumerStatus, now_s: float) -> dict[str, Any]:
    retention = status.retention
    return {
        "consumer": status.target.consumer,
        "group": status.target.group,
        "topic": status.target.topic,
        "topic_exists": status.topic_exists,
        "state": status.group.state,
        "protocol": status.group.protocol if status.group.exists else None,
        "members": [
            {
                "member_id": member.member_id,
                "client_id": member.client_id,
                "host": member.host,
                "instance_id": member.instance_id,
                "partitions": sorted(
                    index for topic, index in member.assigned if topic == status.target.topic
                ),
            }
            for member in status.group.members
        ],
        "idle_members": status.idle_members,
        "unowned_partitions": status.unowned,
        "lag": status.lag,
        "waiting": status.waiting,
        "lost": status.lost,
        "lag_s": _seconds(status.lag_s(now_s)),
        "rate_per_s": _seconds(status.rate),
        "time_to_loss_s": status.loss and _seconds(status.loss.seconds),
        "time_to_loss_by": status.loss and status.loss.by,
        "retention": retention
        and {
            "ms": retention.time_ms,
            "bytes": retention.max_bytes,
            "cleanup_policy": retention.cleanup_policy,
        },
        "partitions": [partition(row, now_s) for row in status.rows],
    }


def partition(row: PartitionStatus, now_s: float) -> dict[str, Any]:
    """One partition; also what ``consumer offsets show`` prints."""
    return {
        "partition": row.index,
        "start": row.start,
        "end": row.end,
        "committed": row.committed,
        "lag": row.lag,
        "waiting": row.waiting,
        "lost": row.lost,
        "out_of_range": bool(row.lost) or row.past_end,
        "owner": row.owner,
        "oldest": iso_time(row.oldest_ms),
        "lag_s": None if row.oldest_ms is None else _seconds(now_s - row.oldest_ms / 1000),
        "rate_per_s": _seconds(row.rate),
        "time_to_loss_s": row.loss and _seconds(row.loss.seconds),
        "time_to_loss_by": row.loss and row.loss.by,
    }


def iso_time(timestamp_ms: int | None) -> str | None:
    found = moment(timestamp_ms)
    return None if found is None else found.isoformat(timespec="milliseconds")


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
