"""Seeded nonsense instead of answers is never taken for a success."""

from __future__ import annotations

import random
import re
import select
import socket
import struct
import threading

import pytest

from consumer_fleet.capture.answers import Answer
from consumer_fleet.capture.delivery_loop import DeliveryLoop
from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.options import DestinationOptions
from consumer_fleet.capture.socket_posts import SocketPosts

ANSWERS = 20_000
_CONNECTIONS = 64
_TOKENS = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b":",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 ",
    b"HTTP/2 ",
    b"HTTP/0.9 200",
    b"ICY 200 OK\r\n",
    b"200",
    b"204",
    b"Content-Length: 1\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked, identity\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"x" * 70_000,
)
_TEMPLATES = (
    b"HTTP/1.1 %d OK\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 %d OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 %d OK\r\n\r\n{}",
    b"HTTP/1.0 %d OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 %d OK\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 %d No\r\nX-Sentry-Rate-Limits: 0:error\r\nContent-Length: 2\r\n\r\nno",
)
_INTERIM = re.compile(rb"(?:HTTP/1\.[01] 1\d\d[^\r\n]*\r?\n(?:[^\r\n]+\r?\n)*\r?\n)*")
# A success, at the least: a status line with a 2xx, and an empty line that ends the head.
_SUCCESS = re.compile(rb"\s*HTTP/1\.[01] +(2\d\d)[ \r\n].*?\n\r?\n", re.DOTALL)
_CHUNKED = re.compile(rb"\ntransfer-encoding:[^\n]*chunked[ \t]*\r?\n", re.IGNORECASE)
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*(\d+)[ \t]*\r?\n", re.IGNORECASE)


def may_be_success(sent: bytes, status: int) -> bool:
    """Whether these bytes, and nothing after them, can be an answer with this 2xx status."""
    sent = sent.lstrip()
    interim = _INTERIM.match(sent)
    rest = sent[interim.end() if interim else 0 :]
    head = _SUCCESS.match(rest)
    if head is None or int(head[1]) != status:
        return False
    if status == 204:
        return True
    if _CHUNKED.search(head[0]):
        return b"0\r\n" in rest[head.end() :]
    length = _LENGTH.search(head[0])
    return length is None or len(rest) - head.end() >= int(length[1])


def nonsense(source: random.Random) -> bytes:
    answer = source.choice(_TEMPLATES) % source.choice([200, 200, 202, 204, 302, 400, 429, 503])
    for _ in range(source.choice([0, 0, 1, 1, 1, 2, 5])):
        position = source.randrange(len(answer) + 1)
        match source.randrange(5):
            case 0:
                answer = answer[:position]
            case 1:
                answer = answer[:position] + source.choice(_TOKENS) + answer[position:]
            case 2:
                answer = answer[:position] + source.randbytes(source.randrange(1, 9))
            case 3:
                end = position + source.randrange(1, 12)
                answer = answer[:position] + answer[end:]
            case _:
                flipped = bytearray(answer or b"?")
                flipped[position % len(flipped)] ^= 1 << source.randrange(8)
                answer = bytes(flipped)
    return answer


class NonsenseServer:
    """Answers each request with nonsense in segments, and keeps, closes or resets the connection.

    A request's body is its number; ``sent`` has what it got.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._stop, self._stopped = socket.socketpair()
        self.port = self._listener.getsockname()[1]
        self.sent: dict[int, bytes] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.close()
        self._thread.join(10)
        self._stopped.close()
        self._listener.close()

    def _run(self) -> None:
        poll = select.epoll()
        poll.register(self._listener.fileno(), select.EPOLLIN)
        poll.register(self._stopped.fileno(), select.EPOLLIN)
        open_sockets: dict[int, socket.socket] = {}
        while True:
            for fd, _ in poll.poll():
                if fd == self._stopped.fileno():
                    for sock in open_sockets.values():
                        sock.close()
                    poll.close()
                    return
                if fd == self._listener.fileno():
                    sock, _ = self._listener.accept()
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    open_sockets[sock.fileno()] = sock
                    poll.register(sock.fileno(), select.EPOLLIN)
                elif not self._answer(open_sockets[fd]):
                    poll.unregister(fd)
                    open_sockets.pop(fd).close()

    def _answer(self, sock: socket.socket) -> bool:
        """Serve one request; requests are small enough for one read. False to close."""
        try:
            request = sock.recv(4096)
            if not request:
                return False
            answer = nonsense(self._random)
            self.sent[int(request.rpartition(b"\r\n\r\n")[2])] = answer
            while answer:
                size = self._random.choice([1, 7, 40, 200_000])
                sock.sendall(answer[:size])
                answer = answer[size:]
        except OSError:
            return False
        ending = self._random.random()
        if ending < 0.1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return ending > 0.4


@pytest.mark.parametrize("seed", range(4))
def test_nonsense_is_never_taken_for_a_success_and_never_hangs(
    loop: DeliveryLoop, seed: int
) -> None:
    server = NonsenseServer(seed)
    dsn = Dsn.parse(f"http://k@127.0.0.1:{server.port}/1")
    # An answer that has no end is the request's timeout, so this bounds the test's time.
    options = DestinationOptions("upstream", dsn, connections=_CONNECTIONS, request_timeout_s=0.1)
    posts = SocketPosts(loop, options, ())
    answers: dict[int, Answer] = {}
    total = ANSWERS // 4
    started = 0
    while len(answers) < total:
        while started < total and posts.idle:
            number = started

            def on_answer(answer: Answer, number: int = number) -> None:
                assert number not in answers
                answers[number] = answer

            posts.post(b"%d" % number, on_answer)
            started += 1
        loop.run_once(1.0)
    server.close()
    successes = {number for number, answer in answers.items() if 200 <= answer.status < 300}
    assert total * 0.1 < len(successes) < total * 0.9, "nonsense and answers are both there"
    for number in successes:
        sent = server.sent[number]
        assert may_be_success(sent, answers[number].status), sent[:200]
