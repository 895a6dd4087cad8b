"""One suite over both implementations of requests: connections of our own, and libcurl's."""

from __future__ import annotations

import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consumer_fleet.capture import curl_posts, dialing
from consumer_fleet.capture.answers import Answer
from consumer_fleet.capture.curl_posts import CurlPosts
from consumer_fleet.capture.delivery_loop import DeliveryLoop, Posts
from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.options import DestinationOptions
from consumer_fleet.capture.socket_posts import SocketPosts
from tests.support.capturing import delivery_loop, drive_for, drive_until
from tests.support.certificate import key_of, server_context
from tests.support.raw_server import OK, RawConnection, RawServer

HEADERS = ("Content-Type: application/x-sentry-envelope", "X-Sentry-Auth: Sentry sentry_key=k")
BODY = b'{}\n{"type":"event"}\n{"message":"hi"}\n'
BIG = b"x" * 3_000_000
HUGE = b"x" * 20_000_000  # more than the kernel buffers


@pytest.fixture(params=[SocketPosts, CurlPosts], ids=["socket", "curl"])
def kind(request: pytest.FixtureRequest) -> type[Any]:
    return request.param  # type: ignore[no-any-return]


class Client:
    """Posts to one server, and the answers to all requests so far."""

    def __init__(self, loop: DeliveryLoop, kind: type[Any], dsn: str, **options: Any) -> None:
        self._loop = loop
        own = DestinationOptions("upstream", Dsn.parse(dsn), **options)
        self.posts: Posts = kind(loop, own, HEADERS)
        self.answers: list[Answer] = []

    def post(self, body: bytes = BODY) -> Answer:
        """Post, and wait for the answer."""
        before = len(self.answers)
        self.posts.post(body, self.answers.append)
        drive_until(self._loop.run_once, lambda: len(self.answers) > before)
        drive_for(self._loop.run_once, 0.001)
        assert len(self.answers) == before + 1
        return self.answers[-1]


def answering(*parts: bytes, then_close: bool = False) -> Callable[[RawConnection, int], None]:
    """Serve every request of a connection with these bytes, in as many segments."""

    def serve(connection: RawConnection, _number: int) -> None:
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            connection.read_request()
            for part in parts:
                connection.send(part)
            if then_close:
                return

    return serve


def split(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


LIMITS = (
    b"X-Sentry-Rate-Limits: 60:error\r\nx-sentry-rate-limits:  30:session \r\nRetry-After: 7\r\n"
)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n"


@pytest.mark.parametrize(
    ("parts", "then_close", "expected"),
    [
        pytest.param([OK], False, Answer(200), id="plain"),
        pytest.param(split(OK), False, Answer(200), id="byte by byte"),
        pytest.param(
            [
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"2;x=y\r\n{}\r\n",
                b"0\r\n\r\n",
            ],
            False,
            Answer(200),
            id="chunked",
        ),
        pytest.param(
            [
                b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n"
                b"0\r\nTrailer: 1\r\n\r\n"
            ],
            False,
            Answer(400, body=b"ab"),
            id="chunked with a trailer",
        ),
        pytest.param(
            [b"HTTP/1.1 400 Bad\r\n\r\nwhy", b" not"],
            True,
            Answer(400, body=b"why not"),
            id="ends with the connection",
        ),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n" + OK], False, Answer(200), id="100"),
        pytest.param(
            [HINTS, OK],
            False,
            Answer(200),
            id="103",
        ),
        pytest.param([b"HTTP/1.1 204 No Content\r\n\r\n"], False, Answer(204), id="204"),
        pytest.param(
            [b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"], True, Answer(200), id="HTTP/1.0"
        ),
        pytest.param(
            [b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}"],
            False,
            Answer(200),
            id="HTTP/1.0 keep-alive",
        ),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"],
            True,
            Answer(200),
            id="close",
        ),
        pytest.param(
            [b"HTTP/1.1 429 No\r\n" + LIMITS + b"Content-Length: 3\r\n\r\nno!"],
            False,
            Answer(429, "60:error, 30:session", "7", b"no!"),
            id="limits",
        ),
    ],
)
def test_an_answer_arrives_as_it_was_sent(
    loop: DeliveryLoop, kind: type[Any], parts: list[bytes], then_close: bool, expected: Answer
) -> None:
    with RawServer(answering(*parts, then_close=then_close)) as server:
        client = Client(loop, kind, server.dsn())
        # Several times: a head that was seen before takes another path.
        assert [client.post() for _ in range(3)] == [expected] * 3
        assert server.connections == (3 if then_close else 1)


def test_a_request_has_a_host_a_length_and_the_headers(loop: DeliveryLoop, kind: type[Any]) -> None:
    heads: list[tuple[bytes, bytes]] = []

    def serve(connection: RawConnection, _number: int) -> None:
        heads.append(connection.read_request())
        connection.send(OK)

    with RawServer(serve) as server:
        Client(loop, kind, server.dsn()).post()
        (head, body) = heads[0]
        lines = head.decode().split("\r\n")
        assert lines[0] == "POST /api/1/envelope/ HTTP/1.1"
        assert f"Host: 127.0.0.1:{server.port}" in lines
        assert f"Content-Length: {len(BODY)}" in lines
        assert set(HEADERS) <= set(lines)
        assert body == BODY


def test_each_answer_belongs_to_its_request(loop: DeliveryLoop, kind: type[Any]) -> None:
    def serve(connection: RawConnection, _number: int) -> None:
        while True:
            _, body = connection.read_request()
            connection.send(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    with RawServer(serve) as server:
        client = Client(loop, kind, server.dsn(), connections=8)
        found: dict[bytes, Answer] = {}
        waiting = [b"%d" % number * (number % 50) for number in range(1, 400)]
        expected = set(waiting)
        while len(found) < len(expected):
            while waiting and client.posts.idle:
                body = waiting.pop()
                client.posts.post(body, lambda answer, body=body: found.update({body: answer}))  # type: ignore[misc]
            loop.run_once(1.0)
        assert all(answer == Answer(400, body=body) for body, answer in found.items())
        assert server.connections <= 8


@pytest.mark.parametrize("resets", [False, True], ids=["closed", "reset"])
def test_an_answer_that_is_cut_at_any_byte_is_ambiguous(
    loop: DeliveryLoop, kind: type[Any], *, resets: bool
) -> None:
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX: y\r\n\r\n{"id": "ab"}'
    # A first, whole answer: the cut one comes on a connection that was kept.
    cut = 0

    def serve(connection: RawConnection, _number: int) -> None:
        connection.read_request()
        connection.send(OK)
        connection.read_request()
        connection.send(answer[:cut])
        if resets:
            connection.reset()

    with RawServer(serve) as server:
        client = Client(loop, kind, server.dsn(), connections=1)
        for cut in range(len(answer)):
            client.post()
            last = client.post()
            if kind is CurlPosts and last == Answer(200):
                # libcurl may send a request again by itself if a kept connection ends: on a new
                # connection, whose first answer is complete.
                continue
            assert (last.status, last.is_ambiguous) == (0, True), cut
            assert last.error


def test_a_reset_after_the_last_byte_does_not_turn_the_answer_into_another(
    loop: DeliveryLoop, kind: type[Any]
) -> None:
    def serve(connection: RawConnection, _number: int) -> None:
        connection.read_request()
        connection.send(OK)
        connection.reset()

    with RawServer(serve) as server:
        client = Client(loop, kind, server.dsn())
        for _ in range(20):
            answer = client.post()
            assert answer == Answer(200) or (answer.status == 0 and answer.is_ambiguous)


def test_an_idle_connection_that_the_server_has_closed_is_not_used(
    loop: DeliveryLoop, kind: type[Any]
) -> None:
    closed = threading.Semaphore(0)

    def serve(connection: RawConnection, _number: int) -> None:
        connection.read_request()
        connection.send(OK)
        connection.sock.shutdown(socket.SHUT_RDWR)
        closed.release()

    with RawServer(serve) as server:
        client = Client(loop, kind, server.dsn(), connections=1)
        for _ in range(5):
            assert client.post() == Answer(200)
            closed.acquire()
            drive_for(loop.run_once, 0.02)


def test_bytes_behind_an_answer_end_its_connection(loop: DeliveryLoop, kind: type[Any]) -> None:
    more = b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"
    with RawServer(answering(OK + more)) as server:
        client = Client(loop, kind, server.dsn(), connections=1)
        assert [client.post() for _ in range(3)] == [Answer(200)] * 3
        assert server.connections == 3


def test_a_long_answer_counts_and_ends_its_connection(loop: DeliveryLoop, kind: type[Any]) -> None:
    head = b"HTTP/1.1 400 Bad\r\nContent-Length: 9000000\r\n\r\n"
    with RawServer(answering(head, b"x" * 9_000_000)) as server:
        client = Client(loop, kind, server.dsn())
        answer = client.post()
        assert answer.status == 400
        assert 64 * 1024 <= len(answer.body) <= 128 * 1024
        client.post()
        assert server.connections == 2


# -- time ----------------------------------------------------------------------------------------


def test_an_answer_that_does_not_come_in_time_is_ambiguous(
    loop: DeliveryLoop, kind: type[Any]
) -> None:
    with RawServer(lambda connection, _: connection.wait_for_close()) as server:
        client = Client(loop, kind, server.dsn(), request_timeout_s=2.0)
        answer = client.post()
        assert (answer.status, answer.is_ambiguous) == (0, True)


@pytest.mark.pure
def test_a_server_that_stops_reading_has_not_got_the_request(
    loop: DeliveryLoop, kind: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer_fleet.capture.delivery_loop._SLOWEST_UPLOAD_BYTES_PER_S", 10**9)
    release = threading.Event()

    def serve(*_: object) -> None:
        release.wait(30)

    with RawServer(serve) as server:
        answer = Client(loop, kind, server.dsn(), request_timeout_s=0.5).post(HUGE)
        assert (answer.status, answer.is_ambiguous) == (0, False)
        release.set()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port whose host answers no connection attempt: its backlog is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        yield port
        for filler in fillers:
            filler.close()


def test_a_connection_that_is_not_made_in_time_fails(
    loop: DeliveryLoop, kind: type[Any], silent_port: int
) -> None:
    client = Client(loop, kind, f"http://k@127.0.0.1:{silent_port}/1", connect_timeout_s=0.3)
    answer = client.post()
    assert (answer.status, answer.is_ambiguous) == (0, False)
    assert answer.error


# -- addresses -----------------------------------------------------------------------------------


def test_ipv6(loop: DeliveryLoop, kind: type[Any]) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        server = RawServer(answering(OK), host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6 on loopback")
    with server:
        assert Client(loop, kind, server.dsn()).post() == Answer(200)


def test_a_name_is_resolved_and_an_address_that_refuses_is_passed_over(
    loop: DeliveryLoop, kind: type[Any]
) -> None:
    # localhost is ::1 as well on many machines, where nothing listens.
    with RawServer(answering(OK)) as server:
        assert Client(loop, kind, server.dsn("localhost")).post() == Answer(200)


def test_a_name_that_does_not_exist_fails(loop: DeliveryLoop, kind: type[Any]) -> None:
    client = Client(loop, kind, "http://k@no-such-host.invalid/1")
    answer = client.post()
    assert (answer.status, answer.is_ambiguous) == (0, False)
    assert "resolve" in answer.error.lower()


def test_an_address_that_does_not_answer_is_passed_over(
    loop: DeliveryLoop, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(answering(OK)) as server:
        found = [
            dialing.Address(socket.AF_INET, ("127.0.0.1", port))
            for port in (silent_port, server.port)
        ]

        def lookup(_host: str, _port: int, flags: int = 0) -> list[dialing.Address]:
            if flags:
                raise OSError
            return list(found)

        monkeypatch.setattr(dialing, "_lookup", lookup)
        client = Client(loop, SocketPosts, "http://k@two.addresses/1", connections=1)
        assert client.post() == Answer(200)
        # The next connection begins with the address that worked.
        assert client.posts.resolver.addresses()[0].address[1] == server.port  # type: ignore[attr-defined]


def test_a_new_connection_waits_for_a_name_that_is_older_than_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    ports: list[int] = []

    def lookup(_host: str, _port: int, flags: int = 0) -> list[dialing.Address]:
        if flags:
            raise OSError
        return [dialing.Address(socket.AF_INET, ("127.0.0.1", ports[-1]))]

    monkeypatch.setattr(dialing, "_lookup", lookup)
    close = answering(OK, then_close=True)
    with (
        RawServer(close) as old,
        RawServer(close) as new,
        delivery_loop(lambda: now[0]) as loop,
    ):
        ports.append(old.port)
        client = Client(loop, SocketPosts, "http://k@a.name/1")
        assert client.post() == Answer(200)
        ports.append(new.port)
        now[0] += 24.0
        client.post()
        assert (old.connections, new.connections) == (2, 0)
        now[0] += 37.0
        client.post()
        assert (old.connections, new.connections) == (2, 1)


@pytest.mark.parametrize("fails", [False, True])
def test_a_name_that_moves_is_followed_though_the_old_server_still_answers(
    monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    now = [1000.0]
    ports: list[int] = []

    def lookup(_host: str, _port: int, flags: int = 0) -> list[dialing.Address]:
        if flags or not ports:
            raise OSError
        return [dialing.Address(socket.AF_INET, ("127.0.0.1", ports[-1]))]

    monkeypatch.setattr(dialing, "_lookup", lookup)
    serve = answering(OK)
    with (
        RawServer(serve) as old,
        RawServer(serve) as new,
        delivery_loop(lambda: now[0]) as loop,
    ):
        ports.append(old.port)
        client = Client(loop, SocketPosts, "http://k@a.name/1", connections=1)
        resolver = client.posts.resolver  # type: ignore[attr-defined]
        assert client.post() == Answer(200)
        ports.append(new.port)
        if fails:
            ports.clear()
        for _ in range(10):  # in use all the time: no connection becomes idle
            now[0] += 3.0
            assert client.post() == Answer(200)
        drive_until(loop.run_once, lambda: resolver.due < math.inf and not resolver.has_news)
        now[0] += 1.0
        assert client.post() == Answer(200)
        assert bool(resolver.error) == fails
        assert (old.connections, new.connections) == ((1, 0) if fails else (1, 1))


def test_a_connection_through_libcurl_ends_after_a_while_though_it_is_in_use(
    loop: DeliveryLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curl_posts, "_CONNECTION_LIFETIME_S", 1)
    with RawServer(answering(OK)) as server:
        client = Client(loop, CurlPosts, server.dsn(), connections=1)
        deadline = time.monotonic() + 10
        while server.connections < 2 and time.monotonic() < deadline:
            assert client.post() == Answer(200)
            drive_for(loop.run_once, 0.05)
        assert server.connections == 2


# -- uploads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("resets", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("read_bytes", [1, 100, 70_000, 2_000_000])
def test_a_refusal_at_any_moment_of_the_upload_is_never_a_success(
    loop: DeliveryLoop, kind: type[Any], read_bytes: int, *, resets: bool
) -> None:
    def serve(connection: RawConnection, _number: int) -> None:
        connection.read_some(read_bytes)
        connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        if resets:
            connection.reset()
        else:
            connection.wait_for_close()

    with RawServer(serve) as server:
        answer = Client(loop, kind, server.dsn(), request_timeout_s=5.0).post(BIG)
        assert answer.status in ((0, 413) if resets else (413,))
        assert not answer.is_ambiguous


@pytest.mark.parametrize("read_bytes", [1, 100, 70_000])
def test_a_success_before_the_end_of_the_upload_counts_once_all_is_sent(
    loop: DeliveryLoop, kind: type[Any], read_bytes: int
) -> None:
    bodies: list[bytes] = []

    def serve(connection: RawConnection, _number: int) -> None:
        connection.read_some(read_bytes)
        connection.send(OK)
        bodies.append(connection.read_request()[1])

    with RawServer(serve) as server:
        answer = Client(loop, kind, server.dsn(), request_timeout_s=5.0).post(HUGE)
        assert answer == Answer(200)
        drive_until(loop.run_once, lambda: bodies == [HUGE])


def test_a_success_that_ends_the_upload_is_not_a_success(loop: DeliveryLoop) -> None:
    """libcurl takes it for a success: the one case in which the two differ."""

    def serve(connection: RawConnection, _number: int) -> None:
        connection.read_some(100)
        connection.send(OK)
        connection.reset()

    with RawServer(serve) as server:
        answer = Client(loop, SocketPosts, server.dsn(), request_timeout_s=5.0).post(HUGE)
        assert (answer.status, answer.is_ambiguous) == (0, False)


# -- TLS -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls(
    loop: DeliveryLoop, kind: type[Any], certificate: Path, version: ssl.TLSVersion
) -> None:
    resumed: list[bool] = []
    context = server_context(certificate)
    context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])

    def serve(connection: RawConnection, _number: int) -> None:
        assert isinstance(connection.sock, ssl.SSLSocket)
        resumed.append(bool(connection.sock.session_reused))
        for end in (b"", b"Connection: close\r\n"):
            assert connection.read_request()[1] == BIG
            head = b"HTTP/1.1 400 Bad\r\n%bContent-Length: 50000\r\n\r\n" % end
            connection.send(head + b"y" * 50_000)
        assert connection.sock.selected_alpn_protocol() == "http/1.1"

    with RawServer(serve, tls=context) as server:
        client = Client(loop, kind, server.dsn(), ca_file=certificate, connections=1)
        for _ in range(4):
            assert client.post(BIG) == Answer(400, body=b"y" * 50_000)
        assert len(resumed) == 2
        if kind is SocketPosts:
            assert resumed == [False, True]


def test_a_client_certificate_is_shown(
    loop: DeliveryLoop, kind: type[Any], certificate: Path, tmp_path: Path
) -> None:
    context = server_context(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificate)
    ours = tmp_path / "ours.pem"
    ours.write_bytes(certificate.read_bytes() + key_of(certificate).read_bytes())
    with RawServer(answering(OK), tls=context) as server:
        shown = Client(loop, kind, server.dsn(), ca_file=certificate, client_certificate=ours)
        assert shown.post() == Answer(200)
        without = Client(loop, kind, server.dsn(), ca_file=certificate)
        answer = without.post()
        assert answer.status == 0
        assert answer.error


def test_a_tls_answer_that_is_cut_is_ambiguous(
    loop: DeliveryLoop, kind: type[Any], certificate: Path
) -> None:
    def serve(connection: RawConnection, _number: int) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n{")
        assert isinstance(connection.sock, ssl.SSLSocket)
        # Without a closing notice: anybody on the way could have done it.
        socket.socket(fileno=connection.sock.detach()).close()

    with RawServer(serve, tls=server_context(certificate)) as server:
        answer = Client(loop, kind, server.dsn(), ca_file=certificate).post()
        assert (answer.status, answer.is_ambiguous) == (0, True)


def test_a_server_that_speaks_no_tls_gets_nothing(loop: DeliveryLoop, kind: type[Any]) -> None:
    received: list[bytes] = []

    def serve(connection: RawConnection, _number: int) -> None:
        received.append(connection.sock.recv(1000))
        connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with RawServer(serve) as server:
        dsn = server.dsn().replace("http:", "https:")
        answer = Client(loop, kind, dsn).post()
        assert (answer.status, answer.is_ambiguous) == (0, False)
        assert "sentry" not in repr(received)


@pytest.mark.parametrize("ends", ["at once", "within the handshake"])
def test_a_handshake_that_ends_early_fails(
    loop: DeliveryLoop, kind: type[Any], *, ends: str
) -> None:
    def serve(connection: RawConnection, _number: int) -> None:
        if ends != "at once":
            connection.sock.recv(1000)

    with RawServer(serve) as server:
        dsn = server.dsn().replace("http:", "https:")
        answer = Client(loop, kind, dsn).post()
        assert (answer.status, answer.is_ambiguous) == (0, False)


def test_a_handshake_that_never_ends_fails_in_time(loop: DeliveryLoop, kind: type[Any]) -> None:
    with RawServer(lambda connection, _: connection.wait_for_close()) as server:
        dsn = server.dsn().replace("http:", "https:")
        answer = Client(loop, kind, dsn, connect_timeout_s=0.3).post()
        assert (answer.status, answer.is_ambiguous) == (0, False)


@pytest.mark.parametrize("trust", ["nothing", "another host", "no such file"])
def test_a_certificate_that_is_not_trusted_gets_nothing(
    loop: DeliveryLoop, kind: type[Any], certificate: Path, *, trust: str
) -> None:
    received: list[bytes] = []

    def serve(connection: RawConnection, _number: int) -> None:
        received.append(connection.read_request()[1])

    with RawServer(serve, tls=server_context(certificate)) as server:
        ca_file = {
            "nothing": None,
            "another host": certificate,
            "no such file": certificate / "missing",
        }[trust]
        host = "localhost" if trust == "another host" else None
        answer = Client(loop, kind, server.dsn(host), ca_file=ca_file).post()
        assert (answer.status, answer.is_ambiguous) == (0, False)
        assert answer.error
        assert received == []


# -- ends ----------------------------------------------------------------------------------------


def test_a_closed_loop_calls_no_callback(kind: type[Any]) -> None:
    with (
        RawServer(lambda connection, _: connection.wait_for_close()) as server,
        delivery_loop() as loop,
    ):
        client = Client(loop, kind, server.dsn())
        client.posts.post(BODY, client.answers.append)
        drive_for(loop.run_once, 0.05)
        loop.close()
        loop.run_once(0.05)
        assert client.answers == []
