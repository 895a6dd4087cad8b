"""The fixture ``kafka_cluster``: the embedded broker, and the real consumer against it."""

from __future__ import annotations

from itertools import islice

import pytest

from consumer_fleet.kafka.mock_cluster import MockClusterFull
from consumer_fleet.run.demonstration import example_messages
from consumer_fleet.testing import KafkaCluster, MadeRecording, Message, replay

pytest_plugins = ["pytester"]


def test_the_real_consumer_delivers_what_a_replay_does() -> None:
    messages: list[bytes | Message | None] = [
        Message(each, partition=number % 4, timestamp_ms=1_700_000_000_000)
        for number, each in enumerate(islice(example_messages("events"), 60))
    ]
    damaged = Message(b"{", b"k", (("h", b"1"),), timestamp_ms=1_700_000_000_000, partition=2)
    messages += [damaged, Message(None)]
    with KafkaCluster() as cluster:
        cluster.produce("events", messages)
        run = cluster.run_consumer("events")
    assert run.exit_code == 0, run.log
    assert "dead-lettered 2 (invalid_json 1, tombstone 1)" in run.output

    replayed = replay(MadeRecording(messages))
    assert run.envelopes == replayed.envelopes["upstream"]
    # Without a partition the broker's clients take turns, which a made-up recording does not.
    (invalid, tombstone) = sorted(run.dead_letters, key=lambda letter: letter.reason)
    assert invalid == next(each for each in replayed.dead_letters if each.record.value == b"{")
    assert (tombstone.reason, tombstone.record.value) == ("tombstone", None)


def test_a_run_takes_arguments_and_its_own_environment_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONSUMER_GROUP", "not-this-one")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "nor.this")
    with KafkaCluster() as cluster:
        cluster.produce("envelopes", [b"no envelope"])
        run = cluster.run_consumer(
            "envelopes", "--no-dlq", environment={"CONSUMER_WORKERS": "1"}, timeout_s=60
        )
        assert run.exit_code == 65
        assert "--no-dlq" in run.log
        assert "group=consumer-fleet-envelopes" in run.log
        assert "workers=1" in run.log
        assert (run.envelopes, run.dead_letters) == ([], [])


def test_a_run_shows_every_envelope_however_many_they_are() -> None:
    envelope = b'{}\n{"type":"session"}\n{}'
    with KafkaCluster() as cluster:
        cluster.produce("envelopes", [envelope] * 10_500)
        run = cluster.run_consumer("envelopes")
    assert run.exit_code == 0, run.log
    assert len(run.envelopes) == 10_500


def test_more_than_the_broker_keeps_is_refused() -> None:
    with KafkaCluster() as cluster, pytest.raises(MockClusterFull):
        cluster.produce("events", [Message(bytes(900_000), partition=0)] * 6)


def test_each_test_has_a_broker_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import confluent_kafka, pytest

        @pytest.mark.parametrize("number", [1, 2])
        def test_it(kafka_cluster, number):
            client = confluent_kafka.Producer(
                {"bootstrap.servers": kafka_cluster.bootstrap_servers}
            )
            assert "events" not in client.list_topics(timeout=10).topics
            kafka_cluster.produce("events", [b"x", None])
            assert "events" in client.list_topics(timeout=10).topics
        """
    )
    arguments = ("-p", "no:consumer_fleet", "-p", "consumer_fleet.pytest_plugin")
    pytester.runpytest_subprocess(*arguments).assert_outcomes(passed=2)
