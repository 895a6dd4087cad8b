"""The same job with a confluent-kafka loop and the Sentry SDK's transport. Ends with the topic.

The SDK drops what its queue has no room for, and says nothing: this shows how much arrives.
"""

from __future__ import annotations

import msgpack
import sentry_sdk
from confluent_kafka import Consumer, KafkaError
from sentry_sdk.consts import CompressionAlgo
from sentry_sdk.envelope import Envelope, Item, PayloadRef

from bench.peer import BATCH, parse


def main() -> None:
    given = parse(__doc__)
    # gzip, as where the package brotli is missing: the sink reads no other encoding.
    sentry_sdk.init(
        given.dsn,
        default_integrations=False,
        _experiments={"transport_compression_algo": CompressionAlgo.GZIP},
    )
    transport = sentry_sdk.get_client().transport
    assert transport is not None
    consumer = Consumer(
        {
            "bootstrap.servers": given.bootstrap_servers,
            "group.id": given.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    ended: set[int | None] = set()
    consumer.subscribe([given.topic])
    while not ended or len(ended) < len(consumer.assignment()):
        for message in consumer.consume(BATCH, 1.0):
            error, value = message.error(), message.value()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
            elif value is not None:
                fields = msgpack.unpackb(value, raw=False)
                envelope = Envelope(headers={"event_id": fields["event_id"]})
                envelope.add_item(Item(payload=PayloadRef(bytes=fields["payload"]), type="event"))
                transport.capture_envelope(envelope)
    sentry_sdk.flush(timeout=10)
    consumer.commit(asynchronous=False)
    consumer.close()


if __name__ == "__main__":
    main()
