"""The parts that the compared Python programs share: they differ by their libraries only."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

import aiohttp
import msgpack
import orjson

CONNECTIONS = 64
BATCH = 500


def parse(description: str | None) -> argparse.Namespace:
    """Read a program's command line: where to read from, and where to post."""
    parser = argparse.ArgumentParser(description=description)
    for name in ("--bootstrap-servers", "--topic", "--group", "--url", "--dsn"):
        parser.add_argument(name, required=True)
    return parser.parse_args()


def to_envelope(value: bytes, dsn: str) -> bytes:
    """Build an envelope by hand, with less work than by any library."""
    fields = msgpack.unpackb(value, raw=False)
    payload: bytes = fields["payload"]
    sent_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    header = {"event_id": fields["event_id"], "dsn": dsn, "sent_at": sent_at}
    item = {"type": "event", "length": len(payload)}
    return b"\n".join((orjson.dumps(header), orjson.dumps(item), payload, b""))


def open_session() -> aiohttp.ClientSession:
    """A session with as many kept-alive connections as consumer-fleet has."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS),
        headers={"Content-Type": "application/x-sentry-envelope"},
    )


async def post_all(session: aiohttp.ClientSession, url: str, bodies: Iterable[bytes]) -> None:
    """Post all at once, and wait for every answer. Raises if one is not a success."""

    async def post(body: bytes) -> None:
        async with session.post(url, data=body) as answer:
            answer.raise_for_status()
            await answer.read()

    await asyncio.gather(*(post(body) for body in bodies))
