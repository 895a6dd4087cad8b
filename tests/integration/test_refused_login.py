"""A wrong SASL password is named, and a consumer that waits for the right one is not healthy."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.consumer_process import ConsumerProcess, run_command
from tests.support.requirements import MissingPart, require
from tests.support.scripted_receiver import ScriptedReceiver
from tests.support.secured_kafka_broker import SecuredKafkaBroker


def test_a_wrong_password_is_named_and_is_not_healthy(
    upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    folder = tmp_path / "kafka"
    folder.mkdir()
    try:
        broker = SecuredKafkaBroker(folder)
    except MissingPart as error:
        require("Kafka", str(error))
    alive = tmp_path / "alive"
    try:
        broker.start()
        login = broker.login("alice", "wrong").items()
        settings = [part for each in login for part in ("--kafka-config", "=".join(each))]
        with ConsumerProcess(
            tmp_path,
            *("--topic", "events", "--upstream-dsn", upstream.dsn(), "--workers", "1"),
            *("--bootstrap-servers", broker.sasl_servers, "--healthcheck-file", str(alive)),
            *settings,
        ) as consumer:

            def refusals() -> int:
                events = consumer.events("kafka_unreachable")
                return sum("sasl.password" in each["reason"] for each in events)

            def touched_at() -> int | None:
                return alive.stat().st_mtime_ns if alive.exists() else None

            consumer.wait_until(lambda: refusals() > 0, "a refusal")
            # The turn that reads the options has touched the file before, or not at all: from then
            # on, each turn knows of the refusal.
            consumer.signal(signal.SIGHUP)
            consumer.wait_for("configuration_reloaded")
            before, count = touched_at(), refusals()
            consumer.wait_until(lambda: refusals() > count, "another refusal")
            assert touched_at() == before
        commands = (
            ("run", "--stop-at-end", "--upstream-dsn", upstream.dsn(), "--workers", "1"),
            ("status",),
            ("record", "-o", "x.recording"),
        )
        topic = ("--topic", "events", "--bootstrap-servers", broker.sasl_servers)
        with ThreadPoolExecutor() as pool:  # each waits for several refusals
            ended = pool.map(
                lambda command: run_command(*command, *topic, *settings, cwd=tmp_path), commands
            )
        for done in ended:
            assert done.returncode == 78, done.stderr
            assert "Kafka refuses the login" in done.stderr
            assert "sasl.password" in done.stderr
    finally:
        broker.close()
