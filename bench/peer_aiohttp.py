"""The same job with aiokafka, aiohttp and uvloop. Runs until SIGTERM.

A batch is what one call returns; it is posted at once, then committed.
"""

from __future__ import annotations

import aiokafka
import uvloop

from bench.peer import BATCH, open_session, parse, post_all, to_envelope


async def run() -> None:
    given = parse(__doc__)
    consumer = aiokafka.AIOKafkaConsumer(
        given.topic,
        bootstrap_servers=given.bootstrap_servers,
        group_id=given.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    async with consumer, open_session() as session:
        while True:
            found = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
            messages = [message for batch in found.values() for message in batch]
            if messages:
                bodies = (to_envelope(message.value, given.dsn) for message in messages)
                await post_all(session, given.url, bodies)
                await consumer.commit()


if __name__ == "__main__":
    uvloop.run(run())
