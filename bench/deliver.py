"""Measure how fast one process delivers envelopes: ``python bench/deliver.py --help``.

The sink is a minimal server in a separate process, so that the CPU time is the sender's alone. Both
implementations of requests take turns, and all requests were answered with 200. The yardstick is a
bare loop: the same requests over one blocking socket, with nothing around them.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from consumer_fleet.capture.curl_posts import CurlPosts
from consumer_fleet.capture.delivery_loop import DeliveryLoop
from consumer_fleet.capture.destination import Destination, OpenPosts
from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.envelope import build, make_item
from consumer_fleet.capture.held import Held
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
    abandoned = draining = can_hold = False

    def __init__(self) -> None:
        self.delivered = 0

    def accepted(self, number: int, destination: str) -> None:
        pass

    def done(self, number: int, rejection: RejectedMessage | None) -> None:
        assert rejection is None, rejection
        self.delivered += 1

    def held(self, number: int, held: Held) -> None:
        raise AssertionError(held)

    def given_up(self, number: int) -> None:
        raise AssertionError(number)

    def dropped(self, number: int) -> None:
        raise AssertionError(number)


@contextmanager
def running_sink() -> Iterator[int]:
    """Run the sink for the length of the block, in a process of its own; gives its port."""
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    sink = context.Process(target=serve, args=(writer,), daemon=True)
    sink.start()
    try:
        yield reader.recv()
    finally:
        sink.terminate()
        sink.join()


def bare(port: int, arguments: argparse.Namespace) -> float:
    """The yardstick: returns the CPU time per request, in microseconds."""
    body = b"x" * arguments.payload_bytes
    request = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        cpu = time.process_time()
        for _ in range(arguments.envelopes):
            sock.sendall(request)
            left = len(ANSWER)
            while left:
                left -= len(sock.recv(left))
    cpu_us: float = (time.process_time() - cpu) / arguments.envelopes * 1e6
    return cpu_us


def deliver(port: int, kind: str, arguments: argparse.Namespace) -> float:
    """One run; returns the CPU time per envelope, in microseconds."""
    loop = DeliveryLoop()
    options = DestinationOptions(
        "upstream",
        Dsn.parse(f"http://key@127.0.0.1:{port}/1"),
        connections=arguments.connections,
        compression=arguments.compression,
        drop_items=frozenset({"statsd"}),
    )
    destination = Destination(options, loop, open_posts=POSTS[kind])
    transport = MultiplexingTransport(destination, None, loop, saas_sample_rate=0.0)
    item = make_item("event", b"x" * arguments.payload_bytes)
    envelope = build("a" * 32, [item])
    receipt = CountingReceipt()
    started = 0
    cpu = time.process_time()
    while receipt.delivered < arguments.envelopes:
        most = min(receipt.delivered + arguments.window, arguments.envelopes)
        while started < most:
            transport.capture(envelope, receipt, started, sampling_key="a" * 32)
            started += 1
        transport.run_once(1.0)
    cpu_us: float = (time.process_time() - cpu) / arguments.envelopes * 1e6
    transport.kill()
    return cpu_us


def compare(port: int, arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Return the CPU times of each round. All take turns, so that whatever else the machine does
    affects them equally.
    """
    runs: dict[str, Callable[[], float]] = {
        kind: lambda kind=kind: deliver(port, kind, arguments)  # type: ignore[misc]
        for kind in arguments.posts or POSTS
    }
    runs["bare"] = lambda: bare(port, arguments)
    return [{kind: run() for kind, run in runs.items()} for _ in range(arguments.runs)]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
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
    return parser.parse_args(arguments)


def main() -> None:
    arguments = parse()
    with running_sink() as port:
        rounds = compare(port, arguments)
    for kind in rounds[0]:
        times = [each[kind] for each in rounds]
        ratio = statistics.median(each[kind] / each["bare"] for each in rounds)
        print(f"{kind:>6} median {statistics.median(times):.1f} µs CPU, {ratio:.2f} times bare")


if __name__ == "__main__":
    main()
