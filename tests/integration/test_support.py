"""The servers that other tests rely on do what those tests take for granted."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Consumer, KafkaException

from consumer_fleet.capture.envelope import build, make_item, serialize
from tests.conftest import TopicFactory
from tests.support.bugsink import Bugsink
from tests.support.kafka_broker import KafkaBroker
from tests.support.processes import ManagedProcess, wait_until
from tests.support.requirements import require
from tests.support.shared_server import SharedServer


def test_values_and_headers_come_back_as_they_were_written(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    name = topic(partitions=2)
    headers = [("reason", b"a"), ("reason", None), ("", b"")]
    places = kafka.produce(name, [b"one", None, b""], key=b"k", headers=headers, partition=1)
    assert places == [(1, 0), (1, 1), (1, 2)]
    found = kafka.read(name)
    assert [message.value() for message in found] == [b"one", None, b""]
    assert all(message.key() == b"k" and message.headers() == headers for message in found)
    assert kafka.end_offsets(name) == {0: 0, 1: 3}


def test_large_messages_are_taken(kafka: KafkaBroker, topic: TopicFactory) -> None:
    name = topic()
    kafka.produce(name, [b"x" * (20 << 20)])
    assert [len(message.value() or b"") for message in kafka.read(name)] == [20 << 20]


def test_topics_are_not_created_by_asking_for_them(kafka: KafkaBroker) -> None:
    assert kafka.partitions("nobody-created-this") == []
    assert "nobody-created-this" not in kafka.admin.list_topics(timeout=10).topics


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_group_of_either_protocol_consumes_and_commits(
    kafka: KafkaBroker, topic: TopicFactory, protocol: str
) -> None:
    name = topic(partitions=2)
    kafka.produce(name, [b"a", b"b"], partition=0)
    group = f"{protocol}-{uuid.uuid4()}"
    assert kafka.committed(group, name) == {}
    config = kafka.client_config(
        group_id=group,
        group_protocol=protocol,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    consumer = Consumer(config)
    try:
        consumer.subscribe([name])
        found: list[bytes | None] = []

        def consumed() -> bool:
            found.extend(message.value() for message in consumer.consume(10, timeout=0.1))
            return len(found) >= 2

        wait_until(consumed, timeout_s=20, what="two messages")
        consumer.commit(asynchronous=False)
    finally:
        consumer.close()
    assert found == [b"a", b"b"]
    assert kafka.committed(group, name) == {0: 2}


@pytest.mark.parametrize("kill", [False, True])
def test_a_broker_comes_back_on_its_port_with_its_data(own_kafka: KafkaBroker, kill: bool) -> None:
    name = own_kafka.create_topic("t")
    own_kafka.produce(name, [b"before"])
    own_kafka.stop(kill=kill)
    assert not own_kafka.is_running
    with pytest.raises(KafkaException):
        own_kafka.admin.list_topics(timeout=1)
    own_kafka.start()
    own_kafka.produce(name, [b"after"])
    assert [message.value() for message in own_kafka.read(name)] == [b"before", b"after"]


def test_a_shared_broker_runs_until_its_last_user_has_left(tmp_path: Path) -> None:
    first, second = (SharedServer(tmp_path, "Kafka", KafkaBroker) for _ in range(2))
    assert first.server.bootstrap_servers == second.server.bootstrap_servers
    for each in (first, second):
        with pytest.raises(RuntimeError, match="own_kafka"):
            each.server.stop()
    end = threading.Thread(target=first.leave)
    end.start()
    second.server.create_topic("t")
    assert end.is_alive()
    second.leave()
    end.join(30)
    assert not end.is_alive()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", second.server.port))


def test_records_can_be_lost_to_retention(kafka: KafkaBroker, topic: TopicFactory) -> None:
    name = topic()
    kafka.produce(name, [b"a", b"b", b"c"])
    kafka.delete_records(name, {0: 2})
    assert kafka.start_offsets(name) == {0: 2}
    assert [message.offset() for message in kafka.read(name)] == [2]


def test_a_topic_can_grow(kafka: KafkaBroker, topic: TopicFactory) -> None:
    name = topic()
    kafka.add_partitions(name, 3)
    assert kafka.partitions(name) == [0, 1, 2]


def post(bugsink: Bugsink, event: Mapping[str, object]) -> int:
    event_id = str(event["event_id"])
    dsn = urlsplit(bugsink.dsn)
    envelope = build(event_id, (make_item("event", json.dumps(event).encode()),))
    connection = http.client.HTTPConnection("127.0.0.1", bugsink.port, timeout=30)
    try:
        connection.request(
            "POST",
            f"/api{dsn.path}/envelope/",
            serialize(envelope, dsn=bugsink.dsn, sent_at="2026-01-01T00:00:00Z"),
            {"X-Sentry-Auth": f"Sentry sentry_key={dsn.username}"},
        )
        return connection.getresponse().status
    finally:
        connection.close()


def test_bugsink_keeps_what_it_accepts_and_no_quota_is_met(bugsink: Bugsink) -> None:
    ids = [uuid.uuid4().hex for _ in range(40)]
    for event_id in ids:
        event = {"event_id": event_id, "platform": "python", "logentry": {"formatted": event_id}}
        assert post(bugsink, event) == 200
    shown = bugsink.wait_for_ids(ids)
    assert {event.title_value for event in shown.values()} == set(ids)


def test_a_missing_part_skips_on_a_desk_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="Java is missing: no java"):
        require("Java", "no java")
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="Java is missing: no java"):
        require("Java", "no java")


def exists(pid: int) -> bool:
    """Zombies do not count: nobody may be there to collect them."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:  # gone before it was opened, or before it was read
        return False


def test_a_killed_process_takes_its_children_along(tmp_path: Path) -> None:
    process = ManagedProcess(
        "shell",
        ["sh", "-c", "sleep 1000 & echo $!; wait"],
        log=tmp_path / "log",
        env=os.environ,
        cwd=tmp_path,
    )
    wait_until(lambda: bool(process.log_tail()), timeout_s=10, what="the child's pid")
    child = int(process.log_tail())
    assert exists(child)
    process.kill()
    wait_until(lambda: not exists(child), timeout_s=10, what="the child's end")


def test_a_process_that_ends_early_is_reported_with_its_log(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no such thing; exit 3"]
    process = ManagedProcess("shell", command, log=tmp_path / "log", env={}, cwd=tmp_path)
    with pytest.raises(RuntimeError, match=r"(?s)shell ended with 3.*no such thing"):
        process.wait_ready(lambda: False, timeout_s=10)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills children with their parent")
def test_no_server_outlives_a_test_run_that_dies_at_once(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from tests.support.processes import ManagedProcess
folder = Path(sys.argv[1])
process = ManagedProcess("s", ["sleep", "1000"], log=folder / "log", env=os.environ, cwd=folder)
print(process.pid, flush=True)
os._exit(1)
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    pid = int(run.stdout)
    wait_until(lambda: not exists(pid), timeout_s=10, what="the server's end")
