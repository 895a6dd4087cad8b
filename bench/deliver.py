"""Measure how fast one process delivers envelopes: ``python bench/deliver.py --help``.

The sink is a minimal server in a separate process, so that the figure per CPU-second counts the
sender alone. Both figures count HTTP requests that were answered with 200.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection

from consumer_fleet.capture.curl_posts import CurlPosts
from consumer_fleet.capture.delivery_loop import DeliveryLoop
from consumer_fleet.capture.destination import Destination, OpenPosts
from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.envelope import build, make_item, parse, serialize
from consumer_fleet.capture.options import DestinationOptions
from consumer_fleet.capture.socket_posts import SocketPosts
from consumer_fleet.capture.transport import MultiplexingTransport
from consumer_fleet.errors import RejectedMessage

POSTS: dict[str, OpenPosts] = {"socket": SocketPosts, "curl": CurlPosts}
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n"
    b"vary: origin\r\naccess-control-allow-origin: *\r\n\r\n{}"
)


class Sink(asyncio.Protocol):
    """A server that reads bodies by Content-Length and answers 200."""

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head_end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:head_end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r")[0])
            end = head_end + 4 + length
            if len(self._received) < end:
                return
            self._received = self._received[end:]
            self._transport.write(ANSWER)


def serve(ready: Connection) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


class CountingReceipt:
    abandoned = False

    def __init__(self) -> None:
        self.delivered = 0

    def accepted(self, number: int, destination: str) -> None:
        pass

    def done(self, number: int, rejection: RejectedMessage | None) -> None:
        assert rejection is None, rejection
        self.delivered += 1


def deliver(port: int, arguments: argparse.Namespace) -> None:
    loop = DeliveryLoop()
    destination = Destination(
        DestinationOptions(
            "upstream",
            Dsn.parse(f"http://key@127.0.0.1:{port}/1"),
            connections=arguments.connections,
            compression=arguments.compression,
        ),
        loop,
        open_posts=POSTS[arguments.posts],
    )
    transport = MultiplexingTransport(
        destination, None, loop, upstream_metrics_enabled=False, saas_sample_rate=0.0
    )
    item = make_item("event", b"x" * arguments.payload_bytes)
    raw = serialize(build("a" * 32, [item]), dsn="https://k@h/1", sent_at="2025-01-01T00:00:00Z")
    for _ in range(arguments.runs):
        receipt = CountingReceipt()
        started = 0
        wall, cpu = time.perf_counter(), time.process_time()
        while receipt.delivered < arguments.envelopes:
            most = min(receipt.delivered + arguments.window, arguments.envelopes)
            while started < most:
                transport.capture(parse(raw), receipt, started, sampling_key="a" * 32)
                started += 1
            transport.run_once(1.0)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        rate, per_cpu = arguments.envelopes / wall, arguments.envelopes / cpu
        print(f"{rate:9,.0f} envelopes/s   {per_cpu:9,.0f} per CPU-second")
    transport.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envelopes", type=int, default=50_000)
    parser.add_argument("--payload-bytes", type=int, default=1200)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument(
        "--window", type=int, default=1000, help="envelopes captured but not settled"
    )
    parser.add_argument("--compression", default="none")
    parser.add_argument("--posts", choices=POSTS, default="socket")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    sink = context.Process(target=serve, args=(writer,), daemon=True)
    sink.start()
    try:
        deliver(reader.recv(), arguments)
    finally:
        sink.terminate()
        sink.join()


if __name__ == "__main__":
    main()
