"""A wrong SASL password is named, and a consumer that waits for the right one is not healthy."""

from __future__ import annotations

from pathlib import Path

from tests.support.consumer_process import ConsumerProcess
from tests.support.requirements import MissingPart, require
from tests.support.scripted_receiver import ScriptedReceiver
from tests.support.secured_kafka_broker import SecuredKafkaBroker


def test_a_wrong_password_is_named_within_seconds_and_is_not_healthy(
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
        settings = broker.login("alice", "wrong").items()
        with ConsumerProcess(
            tmp_path,
            *("--topic", "events", "--upstream-dsn", upstream.dsn(), "--workers", "1"),
            *("--bootstrap-servers", broker.sasl_servers, "--healthcheck-file", str(alive)),
            *(part for name, value in settings for part in ("--kafka-config", f"{name}={value}")),
        ) as consumer:
            (first,) = consumer.wait_for("kafka_unreachable", timeout_s=15)[:1]
            assert "sasl.password" in first["reason"]
            before = alive.stat().st_mtime_ns if alive.exists() else None
            consumer.wait_for("kafka_unreachable", 2, timeout_s=15)
            assert (alive.stat().st_mtime_ns if alive.exists() else None) == before
    finally:
        broker.close()
