"""``pytest --update-recordings`` where brokers are configured: the same offsets, recorded again."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer_fleet.recording.reader import Recording
from consumer_fleet.testing import KafkaCluster, Message
from tests.support.consumer_process import run_command

pytest_plugins = ["pytester"]

_ARGUMENTS = ("-p", "no:consumer_fleet", "-p", "consumer_fleet.pytest_plugin")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("HOME", str(pytester.path))
    pytester.mkdir("recordings")
    pytester.makepyfile(
        test_it="""
        def test_one(recording, replay):
            assert replay(recording("raw")).delivered == 2

        def test_two(recording, replay):
            replay(recording("raw")).check()
        """
    )
    return pytester


def session(number: int) -> Message:
    return Message(b'{}\n{"type":"session"}\n{"n":%d}' % number, partition=number % 2)


def record(cluster: KafkaCluster, path: Path) -> Recording:
    """Of the offsets 1, 2 and 3 of two partitions, the first and the last of one."""
    done = run_command(
        *("record", "--topic", "envelopes", "--bootstrap-servers", cluster.bootstrap_servers),
        *("--from", "1", "--to", "4", "--filter", "matches(value, '2|6')", "-o", str(path)),
    )
    assert done.returncode == 0, done.stderr
    return Recording(path)


def test_a_recording_is_recorded_again_once_and_has_the_same_messages(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.path / "recordings" / "raw.recording"
    with KafkaCluster() as cluster:
        cluster.produce("envelopes", map(session, range(8)))
        before = record(cluster, path)
        messages = list(before.messages())
        assert [record.offset for _, record in messages] == [1, 3]
        monkeypatch.setenv("CONSUMER_BOOTSTRAP_SERVERS", cluster.bootstrap_servers)
        updated = project.runpytest_inprocess(*_ARGUMENTS, "--update-recordings")
    updated.assert_outcomes(passed=2)
    updated.stdout.fnmatch_lines(
        [
            f"consumer-fleet: written: {path}",
            f"consumer-fleet: written: {path}.expected.json",
        ]
    )
    assert str(updated.stdout).count(f"written: {path}\n") == 1
    after = Recording(path)
    assert list(after.messages()) == messages
    assert after.header.recorded_at_ms > before.header.recorded_at_ms
    assert after.header.filter == "matches(value, '2|6')"
    assert after.header.ranges == before.header.ranges


def test_a_recording_whose_messages_are_gone_stays_as_it_is(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.path / "recordings" / "raw.recording"
    with KafkaCluster() as cluster:
        cluster.produce("envelopes", map(session, range(8)))
        record(cluster, path)
    whole = path.read_bytes()
    with KafkaCluster() as other:
        other.produce("envelopes", map(session, range(4)))
        monkeypatch.setenv("CONSUMER_BOOTSTRAP_SERVERS", other.bootstrap_servers)
        refused = project.runpytest_inprocess(*_ARGUMENTS, "--update-recordings")
    refused.assert_outcomes(failed=2)
    refused.stdout.fnmatch_lines(["E *RecordingError: *can't be recorded again: offsets 1 to 4 *"])
    assert path.read_bytes() == whole


def test_without_the_option_no_broker_is_asked(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.path / "recordings" / "raw.recording"
    with KafkaCluster() as cluster:
        cluster.produce("envelopes", map(session, range(8)))
        record(cluster, path)
    monkeypatch.setenv("CONSUMER_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    project.runpytest_inprocess(*_ARGUMENTS, "-k", "test_one").assert_outcomes(passed=1)
