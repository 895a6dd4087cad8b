"""The same job with arroyo's own parts, for comparison.

``python -m bench.stock --help``. Arroyo's consumer, its multiprocessing step, a function that
unpacks a message, builds an envelope with the Sentry SDK and posts it over a kept-alive
connection, and arroyo's commit step. Runs until SIGTERM.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Mapping
from datetime import UTC, datetime

import msgpack
import urllib3
from arroyo.backends.kafka import KafkaConsumer, KafkaPayload
from arroyo.commit import ONCE_PER_SECOND
from arroyo.processing.processor import StreamProcessor
from arroyo.processing.strategies import CommitOffsets, RunTaskWithMultiprocessing
from arroyo.processing.strategies.abstract import ProcessingStrategy, ProcessingStrategyFactory
from arroyo.processing.strategies.run_task_with_multiprocessing import MultiprocessingPool
from arroyo.types import Commit, Message, Partition, Topic
from sentry_sdk.envelope import Envelope, Item, PayloadRef

_BLOCK_BYTES = 16 * 1024 * 1024
_MAX_BATCH_TIME_S = 1.0


class Deliver:
    """The step's function. It holds only strings: each batch pickles it to the processes."""

    # One pool of connections per process, created with its first message.
    _http: urllib3.PoolManager | None = None

    def __init__(self, url: str, dsn: str) -> None:
        self._url = url
        self._dsn = dsn

    def __call__(self, message: Message[KafkaPayload]) -> int:
        body = self._envelope(msgpack.unpackb(message.payload.value, raw=False))
        answer = self._connections().request(
            "POST", self._url, body=body, headers={"Content-Type": "application/x-sentry-envelope"}
        )
        if answer.status != 200:
            raise RuntimeError(f"the upstream answered {answer.status}")
        return answer.status

    def _envelope(self, fields: Mapping[str, object]) -> bytes:
        sent_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        headers = {"dsn": self._dsn, "sent_at": sent_at, "event_id": fields["event_id"]}
        envelope = Envelope(headers=headers)
        payload = fields["payload"]
        assert isinstance(payload, bytes)
        envelope.add_item(Item(payload=PayloadRef(bytes=payload), type="event"))
        return envelope.serialize()

    @classmethod
    def _connections(cls) -> urllib3.PoolManager:
        if cls._http is None:
            cls._http = urllib3.PoolManager()
        return cls._http


class Factory(ProcessingStrategyFactory[KafkaPayload]):
    def __init__(self, deliver: Deliver, processes: int, batch: int) -> None:
        self._deliver = deliver
        self._batch = batch
        self._pool = MultiprocessingPool(processes)

    def create_with_partitions(
        self, commit: Commit, partitions: Mapping[Partition, int]
    ) -> ProcessingStrategy[KafkaPayload]:
        return RunTaskWithMultiprocessing(
            self._deliver,
            CommitOffsets(commit),
            max_batch_size=self._batch,
            max_batch_time=_MAX_BATCH_TIME_S,
            pool=self._pool,
            input_block_size=_BLOCK_BYTES,
            output_block_size=_BLOCK_BYTES,
            # The next batch is ready when a process finishes one, as in consumer-fleet.
            prefetch_batches=True,
        )

    def shutdown(self) -> None:
        self._pool.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--bootstrap-servers", "--topic", "--group", "--url", "--dsn"):
        parser.add_argument(name, required=True)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--batch", type=int, default=500, help="messages per batch")
    given = parser.parse_args()
    consumer = KafkaConsumer(
        {
            "bootstrap.servers": given.bootstrap_servers,
            "group.id": given.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
        }
    )
    processor = StreamProcessor(
        consumer,
        Topic(given.topic),
        Factory(Deliver(given.url, given.dsn), given.processes, given.batch),
        ONCE_PER_SECOND,
    )
    signal.signal(signal.SIGTERM, lambda *_: processor.signal_shutdown())
    processor.run()


if __name__ == "__main__":
    main()
