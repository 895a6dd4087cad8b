"""A member that its group refuses for good ends, and says why: it must not idle in good health."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import TopicFactory
from tests.support.consumer_process import ConsumerProcess
from tests.support.kafka_broker import KafkaBroker
from tests.support.scripted_receiver import ScriptedReceiver

# For the boot, the join and the end; one that idles never ends.
ENDS_WITHIN_S = 60


def member(
    kafka: KafkaBroker, topic: str, upstream: ScriptedReceiver, folder: Path, *settings: str
) -> ConsumerProcess:
    return ConsumerProcess(
        folder,
        *("--topic", "events", "--physical-topic", topic, "--group", f"group-{topic}"),
        *("--bootstrap-servers", kafka.bootstrap_servers, "--upstream-dsn", upstream.dsn()),
        *("--workers", "1", "--no-dlq"),
        *(part for setting in settings for part in ("--kafka-config", setting)),
    )


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        (("group.protocol=consumer", "group.remote.assignor=unknown"), "group.remote.assignor"),
        (("session.timeout.ms=400", "heartbeat.interval.ms=100"), "session.timeout.ms"),
    ],
    ids=["unknown assignor", "session too short"],
)
def test_a_refused_member_ends_with_78_and_names_the_setting(
    kafka: KafkaBroker,
    topic: TopicFactory,
    upstream: ScriptedReceiver,
    tmp_path: Path,
    setting: tuple[str, ...],
    named: str,
) -> None:
    with member(kafka, topic(1), upstream, tmp_path, *setting) as refused:
        assert refused.wait(ENDS_WITHIN_S) == 78
        assert named in refused.output().splitlines()[-1]


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_two_members_with_one_instance_id_do_not_both_go_on(
    kafka: KafkaBroker,
    topic: TopicFactory,
    upstream: ScriptedReceiver,
    tmp_path: Path,
    protocol: str,
) -> None:
    settings = [f"group.protocol={protocol}", "group.instance.id=same"]
    if protocol == "classic":
        settings.append("heartbeat.interval.ms=200")
    name = topic(1)
    with member(kafka, name, upstream, tmp_path, *settings) as first:
        first.wait_for("partitions_assigned")
        with member(kafka, name, upstream, tmp_path, *settings) as second:
            # The classic protocol fences the first one, KIP-848 refuses the second one.
            refused, other = (first, second) if protocol == "classic" else (second, first)
            assert refused.wait(ENDS_WITHIN_S) == 78
            assert "group.instance.id" in refused.output().splitlines()[-1]
            assert other.is_running
