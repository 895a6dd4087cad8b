"""``consumer status --watch`` on a terminal, and the running consumer's own time to loss."""

from __future__ import annotations

import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from tests.conftest import TopicFactory
from tests.support.consumer_process import (
    CONSUMER,
    ConsumerProcess,
    clean_environment,
    run_command,
)
from tests.support.group_members import commit
from tests.support.kafka_broker import KafkaBroker
from tests.support.processes import wait_until
from tests.support.scripted_receiver import ScriptedReceiver
from tests.support.statsd import StatsdServer
from tests.support.terminal import heed_interrupts, lines_of, terminal

SECOND_SCREEN, FIRST_SCREEN = "\x1b[?1049h", "\x1b[?1049l"


def test_the_screen_outlives_kafkas_absence_and_ends_clean(own_kafka: KafkaBroker) -> None:
    name, group = own_kafka.create_topic("watched"), f"group-{uuid.uuid4().hex[:8]}"
    own_kafka.produce(name, [b"x"] * 7)
    commit(own_kafka, group, name, {0: 3})
    brokers = ("--bootstrap-servers", own_kafka.bootstrap_servers)
    with terminal("status", "--watch", "--interval", "0.5", "--group", group, *brokers) as screen:
        screen.wait_for("LOSS IN")
        before = len(screen.drawn)
        own_kafka.stop()
        try:
            away = screen.wait_for("No connection to Kafka since", after=before)
        finally:
            own_kafka.start()
        screen.wait_for("consumer status at", after=away)
        assert screen.process.poll() is None
        assert screen.end() == 0
    assert screen.drawn.count(SECOND_SCREEN) == screen.drawn.count(FIRST_SCREEN) == 1
    assert "Traceback" not in screen.drawn
    during, after = screen.drawn.split(FIRST_SCREEN)
    assert "librdkafka" not in during, "its log lines would tear the screen"
    assert "\x1b[?25h" in screen.drawn, "the cursor is back"
    # The last frame stays in the scrollback, as a table of at most 80 columns.
    frame = lines_of(after)
    assert max(map(len, frame)) <= 80
    (row,) = [line.split() for line in frame if line.startswith(group)]
    assert row[1:3] == ["stopped", "4"]
    assert "TREND" in after
    assert set(row[3]) == {"█"}, "the lag stays, sample by sample"


def test_without_a_terminal_frame_follows_frame_without_colours(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    name = topic(1)
    log = tmp_path / "watch.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(CONSUMER, "status", "--watch", "--interval", "0.3", "--consumer", "events"),
                *("--set", "topic=events", "--set", f"physical_topic={name}"),
                *("--bootstrap-servers", kafka.bootstrap_servers),
            ],
            env=clean_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=heed_interrupts,  # noqa: PLW1509 - one system call
        )
        try:
            wait_until(
                lambda: log.read_text().count("LOSS IN") >= 3, timeout_s=30, what="three frames"
            )
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        finally:
            process.kill()
    assert "\x1b" not in log.read_text()


def test_watching_and_a_document_exclude_each_other() -> None:
    for other in ("--json", "--check"):
        run = run_command("status", "--watch", other, "--bootstrap-servers", "127.0.0.1:9")
        assert run.returncode == 2
        assert "--watch" in run.stderr


@pytest.mark.parametrize("seconds", ["0.1", "nan", "inf", "1e300", "86401"])
def test_an_interval_that_nobody_can_wait_for_is_a_usage_error(seconds: str) -> None:
    run = run_command(
        *("status", "--watch", "--interval", seconds, "--bootstrap-servers", "127.0.0.1:9")
    )
    assert run.returncode == 2
    assert "is not between 0.2 and 86,400 seconds" in run.stderr


def test_a_running_consumer_reports_and_warns_how_soon_it_loses_what_it_holds(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    hour_s = 3600
    name = topic(1, {"retention.ms": 10 * hour_s * 1000})
    stamp = int((time.time() - 9.5 * hour_s) * 1000)
    body = b'{"event_id":"%032x"}\n{"type":"event"}\n{}\n' % 7
    kafka.produce(name, [body] * 3, timestamp_ms=stamp)
    with ScriptedReceiver() as upstream, StatsdServer() as statsd:
        upstream.respond(503)
        with ConsumerProcess(
            tmp_path,
            *("--topic", "envelopes", "--physical-topic", name, "--workers", "1"),
            *("--group", f"group-{uuid.uuid4().hex[:8]}", "--upstream-dsn", upstream.dsn()),
            *("--bootstrap-servers", kafka.bootstrap_servers),
            *("--set", "statsd_host=127.0.0.1", "--set", f"statsd_port={statsd.port}"),
        ) as consumer:

            def sent() -> list[str]:
                lines = statsd.receive_rest()
                return [line for line in lines if "consumer.time_to_loss_s:" in line]

            consumer.wait_until(lambda: bool(sent()), "the metric")
            (warning,) = consumer.wait_for("time_to_loss_low")
            line = sent()[0]
            upstream.respond(200)
            consumer.wait_until(
                lambda: kafka.committed(*group_and_topic(consumer)) == {0: 3}, "the delivery"
            )
            statsd.receive_rest()
            statsd.lines.clear()
            # A full report later there is nothing in flight, so there is nothing to say.
            consumer.wait_until(
                lambda: sum("consumer.lag:" in each for each in statsd.receive_rest()) >= 3,
                "three more reports",
            )
            assert not sent()[1:], "at most the report that was under way"
    assert float(line.split(":")[1].split("|")[0]) - 0.5 * hour_s < 60
    assert "partition:0" in line
    assert warning["partitions"] == [f"{name}/0"]
    assert abs(warning["seconds"] - 0.5 * hour_s) < 60


def group_and_topic(consumer: ConsumerProcess) -> tuple[str, str]:
    (event,) = consumer.events("consuming")
    return event["group"], event["topic"]
