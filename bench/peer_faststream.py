"""The same job with FastStream over confluent-kafka, aiohttp and uvloop. Runs until SIGTERM.

FastStream hands over batches, and commits a batch after its handler has returned.
"""

from __future__ import annotations

import uvloop
from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker
from faststream.confluent.message import KafkaMessage

from bench.peer import BATCH, open_session, parse, post_all, to_envelope


async def run() -> None:
    given = parse(__doc__)
    broker = KafkaBroker(given.bootstrap_servers, logger=None)
    async with open_session() as session:

        @broker.subscriber(
            given.topic,
            group_id=given.group,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.NACK_ON_ERROR,
            batch=True,
            max_records=BATCH,
            decoder=_undecoded,
        )
        async def deliver(values: list[bytes]) -> None:
            await post_all(session, given.url, (to_envelope(each, given.dsn) for each in values))

        await FastStream(broker, logger=None).run()


async def _undecoded(message: KafkaMessage) -> list[bytes]:
    return list(message.body)


if __name__ == "__main__":
    uvloop.run(run())
