"""``consumer tail`` on real Kafka: lines with what became of each message, and no group joined."""

from __future__ import annotations

import json
import subprocess
import uuid
from pathlib import Path

import pytest

from consumer_fleet.dead_letter_headers import Facts, with_facts
from tests.conftest import TopicFactory
from tests.support.consumer_process import CONSUMER, clean_environment, run_command
from tests.support.group_members import commit
from tests.support.kafka_broker import KafkaBroker
from tests.support.processes import wait_until
from tests.support.terminal import heed_interrupts, lines_of, terminal

HELD = "held=5:1,1,1 why=failing%20upstream%20HTTP%20500%3A%20boom topic-id=abc"


def event(number: int) -> bytes:
    body = b'{"level":"warning","message":"message %d","event_id":"%032x"}' % (number, number)
    return b'{"dsn":"https://k@example.com/42"}\n{"type":"event"}\n%s\n' % body


def dead_letter(kafka: KafkaBroker, topic: str, offset: int) -> None:
    facts = Facts("http_400", "upstream: no", topic, 0, offset, None, "g")
    headers = [(name, value) for name, value in with_facts((), facts) if isinstance(value, bytes)]
    kafka.produce(f"{topic}-dlq", [event(offset)], headers=headers)


def arguments(kafka: KafkaBroker, topic: str, group: str, *more: str) -> tuple[str, ...]:
    servers = ("--bootstrap-servers", kafka.bootstrap_servers)
    return ("tail", *servers, "--topic", topic, "--format", "envelopes", "--group", group, *more)


def test_lines_say_what_became_of_each_message_and_no_group_is_joined(
    own_kafka: KafkaBroker, tmp_path: Path
) -> None:
    name, group = own_kafka.create_topic("t"), f"group-{uuid.uuid4().hex[:8]}"
    own_kafka.create_topic(f"{name}-dlq", 1)
    own_kafka.produce(name, [event(number) for number in range(7)])
    dead_letter(own_kafka, name, 1)
    # Passed up to 5, but for 2 and 4; nothing is known of 5 and 6.
    commit(own_kafka, group, name, {0: 2}, HELD)
    before = set(own_kafka.admin.list_consumer_groups().result(10).valid)
    log = tmp_path / "tail.jsonl"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [CONSUMER, *arguments(own_kafka, name, group, "--from", "earliest", "--json")],
            env=clean_environment(),
            stdout=output,
            preexec_fn=heed_interrupts,  # noqa: PLW1509 - one system call
        )
        try:
            wait_until(lambda: log.read_text().count("\n") >= 7, timeout_s=30, what="seven lines")
            # What happens later is shown again.
            commit(own_kafka, group, name, {0: 5}, "topic-id=abc")
            dead_letter(own_kafka, name, 6)
            wait_until(lambda: log.read_text().count("\n") >= 10, timeout_s=30, what="three more")
            after = set(own_kafka.admin.list_consumer_groups().result(10).valid)
            process.send_signal(2)
            assert process.wait(10) == 0
        finally:
            process.kill()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["offset"], line["delivery"], line["detail"]) for line in lines[:7]] == [
        (0, "settled", ""),
        (1, "dead letter", "http_400: upstream: no"),
        (2, "held", "failing upstream HTTP 500: boom"),
        (3, "settled", ""),
        (4, "held", ""),
        (5, "waiting", ""),
        (6, "waiting", ""),
    ]
    again = {line["offset"]: line["delivery"] for line in lines[7:]}
    assert again == {2: "settled", 4: "settled", 6: "dead letter"}
    assert (lines[0]["project"], lines[0]["level"], lines[0]["title"]) == (
        *(42, "warning"),
        "message 0",
    )
    assert {each.group_id for each in after} == {each.group_id for each in before}


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_lines_are_coloured_and_fit_until_ctrl_c(
    kafka: KafkaBroker, topic: TopicFactory, columns: int
) -> None:
    name, group = topic(1), f"group-{uuid.uuid4().hex[:8]}"
    kafka.produce(name, [event(0), event(1).replace(b"message 1", b"m" * 300), b"\xff"])
    commit(kafka, group, name, {0: 3})
    command = arguments(kafka, name, group, "--from", "earliest")
    with terminal(*command, columns=columns) as screen:
        screen.wait_for("0@2")
        assert screen.end() == 0
    lines = lines_of(screen.drawn.replace("^C", ""))
    assert len([line for line in lines if "settled" in line]) == 3
    assert max(map(len, lines)) == columns
    assert "\x1b[32msettled" in screen.drawn


def test_a_topic_without_a_known_format_is_an_error_that_says_what_to_do(
    kafka: KafkaBroker,
) -> None:
    servers = ("--bootstrap-servers", kafka.bootstrap_servers)
    unknown = run_command("tail", *servers, "--topic", "nothing")
    assert unknown.returncode == 78
    assert "name its message format with --format" in unknown.stderr
    missing = run_command("tail", *servers, "--topic", "nothing", "--format", "events")
    assert missing.returncode == 78
    assert "'nothing'" in missing.stderr
    assert "Traceback" not in missing.stderr
