"""The embedded broker in a test, and the real consumer against it, in its own processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from consumer_fleet.consumers import registry
from consumer_fleet.inspector.receiver import Receiver
from consumer_fleet.inspector.store import Store
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.mock_cluster import MockCluster
from consumer_fleet.kafka.reader import TopicReader
from consumer_fleet.targets import default_dead_letter_topic
from consumer_fleet.testing.captured import DeadLettered, SentEnvelope
from consumer_fleet.testing.expectation import in_order
from consumer_fleet.testing.recording import Message, Messages

# More than the embedded broker's topics hold: a test sees everything that was delivered.
_MAX_ENVELOPES: Final = 1_000_000
_MAX_ENVELOPE_BYTES: Final = 1024 * 1024 * 1024
# A read waits for so many messages or for so long.
_READ_TIMEOUT_S: Final = 0.1


@dataclass(frozen=True)
class ClusterRun:
    """The outcome of one run of the consumer."""

    exit_code: int
    envelopes: list[SentEnvelope]
    dead_letters: list[DeadLettered]
    output: str = field(repr=False)
    log: str = field(repr=False)


class KafkaCluster:
    """One embedded broker, empty at first; a context manager."""

    def __init__(self) -> None:
        self._cluster = MockCluster()

    @property
    def bootstrap_servers(self) -> str:
        return self._cluster.bootstrap_servers

    def produce(self, topic: str, messages: Messages) -> None:
        """Blocks until the broker has them. A partition takes 5 MiB or 100,000 messages.

        A topic has four partitions; messages without a partition and a key take turns.
        """
        self._cluster.create_topic(topic)
        self._cluster.produce(
            topic, (each if isinstance(each, Message) else Message(each) for each in messages)
        )

    def run_consumer(
        self,
        consumer: str = "events",
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        timeout_s: float = 120.0,
    ) -> ClusterRun:
        """``consumer run --stop-at-end`` in processes of its own, against a receiver here.

        Blocks until it has ended, 5 s at least: joining a group takes 3 s. ``arguments`` are
        added to its command line. It sees no CONSUMER_ and DJANGO_ variable but those in
        ``environment``, and no configuration file. Raises subprocess.TimeoutExpired.
        """
        topic = registry.get(consumer).logical_topic
        self._cluster.create_topic(topic)
        dead_letter_topic = default_dead_letter_topic(topic)
        self._cluster.create_topic(dead_letter_topic)
        with (
            closing(Store(max_rows=_MAX_ENVELOPES, max_bytes=_MAX_ENVELOPE_BYTES)) as store,
            Receiver(store) as receiver,
        ):
            done = _run(
                [
                    *("--topic", consumer, "--bootstrap-servers", self.bootstrap_servers),
                    *("--set", "envelope_origin=true", "--log-format", "human"),
                    *arguments,
                ],
                {"CONSUMER_UPSTREAM_DSN": str(receiver.dsn), **(environment or {})},
                timeout_s,
            )
            envelopes = _envelopes(store)
        return ClusterRun(
            done.returncode,
            envelopes,
            self.dead_letters(dead_letter_topic),
            done.stdout,
            done.stderr,
        )

    def dead_letters(self, topic: str) -> list[DeadLettered]:
        """Return everything in a dead-letter topic."""
        found: list[DeadLettered] = []
        with TopicReader({"bootstrap.servers": self.bootstrap_servers}, topic) as reader:
            while not reader.at_end:
                for message in reader.read(timeout_s=_READ_TIMEOUT_S):
                    record = Record.from_kafka(message)
                    letter = DeadLettered.of_message(record.key, record.value, record.headers)
                    if letter is not None:
                        found.append(letter)
        return sorted(found, key=lambda letter: letter.origin)

    def close(self) -> None:
        self._cluster.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _envelopes(store: Store) -> list[SentEnvelope]:
    raw = [store.raw(each.id) for each in store.after(0, _MAX_ENVELOPES)]
    return in_order([SentEnvelope.of_bytes("upstream", each) for each in raw if each is not None])


def _run(
    arguments: list[str], environment: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - this program itself
        [sys.executable, "-m", "consumer_fleet", "run", "--stop-at-end", *arguments],
        env={**_without_own_settings(os.environ), "CONSUMER_CONF": os.devnull, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )


def _without_own_settings(environ: Mapping[str, str]) -> dict[str, str]:
    # The new process finds the modules that this one finds, whatever its working directory.
    path = os.pathsep.join(str(Path(each).absolute()) for each in sys.path if each)
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(("CONSUMER_", "DJANGO_", "SENTRY_"))
    }
    return {**kept, "PYTHONPATH": path}
