"""Measure how fast one process delivers envelopes: ``python bench/deliver.py --help``.

The sink is a minimal server in a separate process, so that the CPU time is the sender's alone. Both
implementations of requests take turns, and all requests were answered with 200.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection

from consumer_fleet.capture.curl_posts import CurlPosts
from consumer_fleet.capture.delivery_loop import DeliveryLoop
from consumer_fleet.capture.destination import Destination, OpenPosts
from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.envelope import build, make_item
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


def deliver(port: int, kind: str, arguments: argparse.Namespace) -> float:
    """One run; returns the CPU time per envelope, in microseconds."""
    loop = DeliveryLoop()
    options = DestinationOptions(
        "upstream",
        Dsn.parse(f"http://key@127.0.0.1:{port}/1"),
        connections=arguments.connections,
        compression=arguments.compression,
    )
    destination = Destination(options, loop, open_posts=POSTS[kind])
    transport = MultiplexingTransport(
        destination, None, loop, upstream_metrics_enabled=False, saas_sample_rate=0.0
    )
    item = make_item("event", b"x" * arguments.payload_bytes)
    envelope = build("a" * 32, [item])
    receipt = CountingReceipt()
    started = 0
    wall, cpu = time.perf_counter(), time.process_time()
    while receipt.delivered < arguments.envelopes:
        most = min(receipt.delivered + arguments.window, arguments.envelopes)
        while started < most:
            transport.capture(envelope, receipt, started, sampling_key="a" * 32)
            started += 1
        transport.run_once(1.0)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    transport.kill()
    cpu_us: float = cpu / arguments.envelopes * 1e6
    print(f"{kind:>6} {arguments.envelopes / wall:9,.0f} envelopes/s {cpu_us:7.1f} µs CPU")
    return cpu_us


def compare(port: int, arguments: argparse.Namespace) -> None:
    """Take turns, so that whatever else the machine does affects both equally."""
    rounds = [
        {kind: deliver(port, kind, arguments) for kind in arguments.posts or POSTS}
        for _ in range(arguments.runs)
    ]
    for kind in rounds[0]:
        print(f"{kind:>6} median {statistics.median(each[kind] for each in rounds):.1f} µs CPU")
    if len(rounds[0]) == len(POSTS):
        ratios = [each["socket"] / each["curl"] for each in rounds]
        print(f"socket ÷ curl, median: {statistics.median(ratios):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envelopes", type=int, default=50_000)
    parser.add_argument("--payload-bytes", type=int, default=1200)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument(
        "--window", type=int, default=1000, help="envelopes captured but not settled"
    )
    parser.add_argument("--compression", default="none")
    parser.add_argument("--posts", choices=POSTS, action="append", help="default: both in turns")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    sink = context.Process(target=serve, args=(writer,), daemon=True)
    sink.start()
    try:
        compare(reader.recv(), arguments)
    finally:
        sink.terminate()
        sink.join()


if __name__ == "__main__":
    main()
