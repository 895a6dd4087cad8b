"""A Kafka broker whose connections a test can end as its shutdown does.

A broker that shuts down leaves the cluster first: for a moment it still answers, and its metadata
lists no broker. ``leave`` makes that moment as short as possible: the next metadata answer is the
last thing that its connection carries, and all other connections end with it.
"""

from __future__ import annotations

import asyncio
import struct
import threading

from tests.support.kafka_broker import KafkaBroker
from tests.support.processes import free_ports

_METADATA = 3  # the request's key (KIP-4); from version 9 on in the flexible encoding (KIP-482)
_FIRST_FLEXIBLE = 9


class LeavingKafka:
    """Raises MissingPart without Java or jars. ``bootstrap_servers`` is its only address."""

    def __init__(self) -> None:
        (self._port,) = free_ports(1)
        self.bootstrap_servers = f"127.0.0.1:{self._port}"
        self.broker = KafkaBroker({"advertised.listeners": f"PLAINTEXT://{self.bootstrap_servers}"})
        self._is_leaving = False
        self.has_left = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def start(self) -> None:
        listening = asyncio.start_server(self._serve, "127.0.0.1", self._port)
        asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)
        self.broker.start()

    def close(self) -> None:
        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self.broker.close()

    @property
    def connections(self) -> int:
        """The number of connected clients."""
        return len(self._writers) // 2

    def leave(self) -> None:
        """Leave with the next metadata answer; ``has_left`` is then true until ``come_back``."""
        self._is_leaving = True

    def come_back(self) -> None:
        async def stay() -> None:
            self._is_leaving = self.has_left = False

        # In the loop's thread: it may be about to send the answer that it leaves with.
        asyncio.run_coroutine_threadsafe(stay(), self._loop).result(10)

    def _end(self) -> None:
        self.has_left = True
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.has_left:
            # The port stays open: a client that keeps retrying could get a closed port as its own.
            writer.transport.abort()
            return
        try:
            inner_reader, inner = await asyncio.open_connection("127.0.0.1", self.broker.port)
        except OSError:
            writer.close()
            return
        if self.has_left:  # meanwhile
            for each in (writer, inner):
                each.transport.abort()
            return
        self._writers |= {writer, inner}
        asked: dict[int, int] = {}  # the version of each metadata request, by its correlation id
        pumps = [
            asyncio.ensure_future(_requests(reader, inner, asked)),
            asyncio.ensure_future(self._answers(inner_reader, writer, asked)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        # Whatever ends one side, usually a closed connection, ends both.
        await asyncio.gather(*pumps, return_exceptions=True)
        for each in (writer, inner):
            each.close()
        self._writers -= {writer, inner}

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[int, int]
    ) -> None:
        while True:
            answer = await _frame(reader)
            version = asked.pop(struct.unpack_from(">i", answer)[0], None)
            if version is None or not self._is_leaving:
                _send(writer, answer)
            else:
                _send(writer, without_brokers(answer, version))
                self._end()


async def _requests(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[int, int]
) -> None:
    while True:
        request = await _frame(reader)
        key, version, number = struct.unpack_from(">hhi", request)
        if key == _METADATA:
            asked[number] = version
        _send(writer, request)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


def _send(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(struct.pack(">i", len(frame)) + frame)


def without_brokers(answer: bytes, version: int) -> bytes:
    """Empty the brokers of a metadata answer (correlation id, tags, throttle time, brokers, …)."""
    if version < _FIRST_FLEXIBLE:
        raise ValueError(f"metadata of version {version}: only {_FIRST_FLEXIBLE} and later")
    start = _after_tags(answer, 4) + 4
    count, at = _unsigned(answer, start)
    for _ in range(count - 1):
        at = _after_text(answer, at + 4)  # the id, the host
        at = _after_text(answer, at + 4)  # the port, the rack
        at = _after_tags(answer, at)
    return answer[:start] + b"\x01" + answer[at:]


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    """Read a variable-length number; return it and the index after it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _after_text(data: bytes, at: int) -> int:
    length, at = _unsigned(data, at)
    return at + max(0, length - 1)


def _after_tags(data: bytes, at: int) -> int:
    count, at = _unsigned(data, at)
    for _ in range(count):
        _, at = _unsigned(data, at)
        length, at = _unsigned(data, at)
        at += length
    return at
