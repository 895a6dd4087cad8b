"""A topic whose bad messages a real ``consumer run`` dead-letters, and commands on them."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack
import orjson

from tests.support.consumer_process import ConsumerProcess, run_command
from tests.support.kafka_broker import KafkaBroker
from tests.support.scripted_receiver import ScriptedReceiver


def ingest_event(event_id: str | None, **changes: Any) -> bytes:
    """Build a message of ``ingest-events``; a missing event id is derived from its position."""
    own = {} if event_id is None else {"event_id": event_id}
    fields = {
        "type": "event",
        "payload": orjson.dumps({**own, "message": "m"}),
        "start_time": 1_700_000_000,
        "project_id": 3,
        "remote_addr": "127.0.0.1",
        "attachments": [],
        **own,
        **changes,
    }
    return bytes(msgpack.packb(fields))


def ids(receiver: ScriptedReceiver) -> Counter[str]:
    """Return the event ids that the receiver accepted."""
    return Counter(str(envelope.event_id) for envelope in receiver.envelopes)


class DeadLetterScene:
    """A topic and its dead-letter topic, which the first run creates."""

    def __init__(self, kafka: KafkaBroker, topic: str, folder: Path) -> None:
        self.kafka = kafka
        self.topic = topic
        self.dlq = f"{topic}-dlq"
        self.group = f"consumer-fleet-dlq-{self.dlq}"
        self.folder = folder

    def dead_letter(self, values: Sequence[bytes | None], receiver: ScriptedReceiver) -> None:
        """Produce these values and run the consumer until the end of the topic."""
        self.kafka.produce(self.topic, values)
        with ConsumerProcess(
            self.folder,
            *("--topic", "ingest-events", "--physical-topic", self.topic, "--stop-at-end"),
            *("--group", f"group-{uuid.uuid4().hex[:8]}", "--workers", "2"),
            *("--bootstrap-servers", self.kafka.bootstrap_servers),
            *("--upstream-dsn", receiver.dsn()),
        ) as consumer:
            assert consumer.wait() == 0

    def command(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``consumer dlq NAME`` on the dead-letter topic to its end."""
        return run_command(*self.arguments(name, *arguments), cwd=self.folder)

    def arguments(self, name: str, *more: str) -> tuple[str, ...]:
        """Return the command line of ``dlq NAME`` on the dead-letter topic."""
        return (
            *("dlq", name, "--topic", "ingest-events", "--dlq-topic", self.dlq),
            *("--bootstrap-servers", self.kafka.bootstrap_servers, *more),
        )

    def json(self, name: str, *arguments: str) -> Any:
        """Return the output of a command with ``--json``."""
        done = self.command(name, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def replay(
        self, receiver: ScriptedReceiver, *arguments: str
    ) -> subprocess.CompletedProcess[str]:
        return self.command(
            "replay", "--upstream-dsn", receiver.dsn(), "--workers", "2", *arguments
        )

    def replayed(self) -> dict[int, int]:
        """Return the offsets that the dead-letter topic's group has committed."""
        return self.kafka.committed(self.group, self.dlq)

    def reasons(self) -> dict[str, int]:
        listed = self.json("list")
        return {each["reason"]: each["count"] for each in listed["reasons"]}
