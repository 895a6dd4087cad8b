"""The receiver implements the protocol that SDKs and this program's delivery expect."""

from __future__ import annotations

import gzip
import http.client
import json
import random
import socket
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import brotli  # type: ignore[import-untyped]  # it ships no type information
import pytest
import sentry_sdk
import zstandard

from consumer_fleet.capture.envelope import build, make_item
from consumer_fleet.errors import OutputError, ServiceError
from consumer_fleet.inspector import envelope_endpoint
from consumer_fleet.inspector.entry import KafkaPosition
from consumer_fleet.inspector.envelope_endpoint import BodyRefused, decompress
from consumer_fleet.inspector.feeder import as_bytes
from consumer_fleet.inspector.receiver import Receiver, View
from consumer_fleet.inspector.store import Store
from tests.support.addresses import outward_address
from tests.support.processes import wait_until

EVENT_ID = "9ec79c33ec9942ab8353589fcb2e04dc"
LIMIT_BYTES = 10_000


def envelope_bytes(event_id: str | None = EVENT_ID) -> bytes:
    item = make_item("event", b'{"message":"hello"}')
    envelope = build(event_id, [item])
    return b"\n".join([envelope.header, item.header, item.payload, b""])


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver(limit_bytes=LIMIT_BYTES) as receiver:
        yield receiver


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> object:
        return json.loads(self.body)


def request(
    receiver: Receiver, method: str, path: str, body: bytes, headers: Mapping[str, str]
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", receiver.dsn.port, timeout=10)
    try:
        connection.request(method, path, body, dict(headers))
        return Answer(connection.getresponse())
    finally:
        connection.close()


def post(receiver: Receiver, body: bytes, **headers: str) -> Answer:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return request(
        receiver,
        "POST",
        "/api/1/envelope/",
        body,
        {"X-Sentry-Auth": receiver.dsn.auth_header, **given},
    )


def test_an_accepted_envelope_returns_its_id_and_is_stored_unchanged(
    receiver: Receiver,
) -> None:
    answer = post(receiver, envelope_bytes())

    assert (answer.status, answer.json) == (200, {"id": EVENT_ID})
    (stored,) = receiver.store.latest(1)
    assert (stored.project, stored.event_id, stored.item_types) == ("1", EVENT_ID, ("event",))
    assert receiver.store.raw(stored.id) == envelope_bytes()


def test_an_envelope_without_an_id_is_accepted(receiver: Receiver) -> None:
    answer = post(receiver, envelope_bytes(None))
    assert (answer.status, answer.json) == (200, {})


def _bare_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without zlib's header": ("deflate", _bare_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
    "upper case": ("GZIP", gzip.compress),
    "identity": ("identity", bytes),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_a_compressed_envelope_is_stored_decompressed(receiver: Receiver, name: str) -> None:
    encoding, encode = ENCODERS[name]
    before = receiver.store.counts().accepted
    answer = post(receiver, encode(envelope_bytes()), Content_Encoding=encoding)
    assert (answer.status, answer.json) == (200, {"id": EVENT_ID})
    assert receiver.store.counts().accepted == before + 1
    assert receiver.store.raw(receiver.store.latest(1)[0].id) == envelope_bytes()


@pytest.mark.parametrize("name", ["gzip", "deflate", "deflate without zlib's header", "br", "zstd"])
def test_a_decompression_bomb_is_refused_at_the_limit(name: str) -> None:
    encoding, encode = ENCODERS[name]
    exact = encode(b"x" * LIMIT_BYTES)
    assert decompress(exact, encoding, LIMIT_BYTES) == b"x" * LIMIT_BYTES
    for size in (LIMIT_BYTES + 1, 50_000_000):
        with pytest.raises(BodyRefused) as refused:
            decompress(encode(b"x" * size), encoding, LIMIT_BYTES)
        assert refused.value.status == 413


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_a_damaged_or_truncated_body_is_a_bad_request(receiver: Receiver, name: str) -> None:
    encoding, encode = ENCODERS[name]
    whole = encode(envelope_bytes())
    for body in (whole[:-10], b"\x99" + whole, b""):
        answer = post(receiver, body, Content_Encoding=encoding)
        assert answer.status == 400, answer.body
        assert isinstance(answer.json, dict)
        assert set(answer.json) == {"detail"}


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_consecutive_parts_are_all_decoded(receiver: Receiver, name: str) -> None:
    encoding, encode = ENCODERS[name]
    raw = envelope_bytes()
    whole = b"".join(encode(part) for part in (raw[:50], b"", raw[50:]))
    assert post(receiver, whole, Content_Encoding=encoding).status == 200
    assert receiver.store.raw(receiver.store.latest(1)[0].id) == raw


def _zstd_without_size(body: bytes) -> bytes:
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(body) + compressor.flush()


STREAMS = {**ENCODERS, "zstd without its size": ("zstd", _zstd_without_size)}
STREAMS = {name: codec for name, codec in STREAMS.items() if name not in ("upper case", "identity")}


@pytest.mark.parametrize("name", STREAMS)
def test_a_truncated_body_or_trailing_data_is_refused(name: str) -> None:
    encoding, encode = STREAMS[name]
    # One body of several slices, and one of a single slice.
    for body in (random.Random(1).randbytes(300_000) + bytes(600_000), b"x"):
        whole = encode(body)
        assert decompress(whole, encoding, len(body)) == body
        cuts = [whole[:end] for end in (1, len(whole) // 2, len(whole) - 5, len(whole) - 1)]
        tails = [whole + tail for tail in (b"g", b"garbage", bytes(20), whole[: len(whole) // 2])]
        for damaged in cuts + tails:
            with pytest.raises(BodyRefused) as refused:
                decompress(damaged, encoding, 10 * len(body))
            assert refused.value.status == 400


def test_endless_parts_are_refused() -> None:
    for part, encoding in ((gzip.compress(b""), "gzip"), (zstandard.compress(b""), "zstd")):
        with pytest.raises(BodyRefused, match="data after the end"):
            decompress(part * 20_000, encoding, LIMIT_BYTES)


def noise(size: int) -> bytes:
    """Bytes of one line that nothing compresses."""
    return random.Random(1).randbytes(size).replace(b"\n", b".")


def test_an_envelope_larger_than_the_store_is_refused() -> None:
    store = Store(max_bytes=1_000_000)
    with Receiver(store) as receiver:
        # Of noise: the store compresses what it keeps.
        large = b'{}\n{"type":"attachment"}\n' + noise(1_000_000)
        for body, encoding in ((large, "identity"), (gzip.compress(large), "gzip")):
            answer = post(receiver, body, Content_Encoding=encoding)
            assert answer.status == 413
        for body, encoding in (
            (large[:-9_000], "identity"),
            (gzip.compress(large[:-8_000]), "gzip"),
        ):
            assert post(receiver, body, Content_Encoding=encoding).status == 200
            assert receiver.store.counts().kept == 1
    store.close()


def test_more_items_than_can_be_shown_are_refused(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer_fleet.inspector.envelope_endpoint.MAX_ITEMS", 3)
    assert post(receiver, b"{}\n" + b'{"type":"a"}\n\n' * 3).status == 200
    answer = post(receiver, b"{}\n" + b'{"type":"a"}\n\n' * 4)
    assert answer.status == 400
    assert b"more than 3 items" in answer.body


def test_large_envelopes_wait_for_each_other_and_small_ones_do_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(envelope_endpoint, "_SMALL_BYTES", 1000)
    large = b'{}\n{"type":"attachment"}\n' + b"x" * 5000
    with Receiver() as receiver, socket.create_connection(("127.0.0.1", receiver.dsn.port)) as slow:
        head = f"POST /api/1/envelope/?sentry_key={receiver.dsn.public_key} HTTP/1.1\r\n"
        length = f"Host: localhost\r\nContent-Length: {len(large)}\r\n\r\n"
        slow.sendall(f"{head}{length}".encode() + large[:-1])
        endpoint = receiver._endpoint
        wait_until(endpoint._large.locked, timeout_s=10, what="the first large one")
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(post, receiver, large)
            assert post(receiver, envelope_bytes()).status == 200
            assert not second.done()
            slow.sendall(large[-1:])
            assert second.result(10).status == 200
        assert [entry.item_types for entry in receiver.store.latest(5)] == [
            ("attachment",), ("attachment",), ("event",),
        ]  # fmt: skip


def test_a_large_envelope_that_does_not_arrive_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope_endpoint, "_SMALL_BYTES", 10)
    monkeypatch.setattr(envelope_endpoint, "_LARGE_TIMEOUT_S", 0.2)
    with Receiver() as receiver, socket.create_connection(("127.0.0.1", receiver.dsn.port)) as slow:
        head = f"POST /api/1/envelope/?sentry_key={receiver.dsn.public_key} HTTP/1.1\r\n"
        slow.sendall(f"{head}Host: localhost\r\nContent-Length: 5000\r\n\r\n{'x' * 50}".encode())
        slow.settimeout(10)
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")
        assert post(receiver, envelope_bytes()).status == 200


def test_a_body_above_the_limit_is_too_large(receiver: Receiver) -> None:
    assert post(receiver, b"x" * (LIMIT_BYTES + 1)).status == 413
    bomb = gzip.compress(b"x" * (LIMIT_BYTES + 1))
    assert post(receiver, bomb, Content_Encoding="gzip").status == 413


def test_an_unknown_encoding_is_an_unsupported_type(receiver: Receiver) -> None:
    assert post(receiver, envelope_bytes(), Content_Encoding="compress").status == 415


def test_an_encoding_whose_package_is_missing_is_an_unsupported_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "brotli", None)
    with pytest.raises(BodyRefused, match="brotli") as refused:
        decompress(b"", "br", LIMIT_BYTES)
    assert refused.value.status == 415


@pytest.mark.parametrize("body", [b"", b"not json", b'{"event_id":1}\n{"length":2}\nxy'])
def test_an_invalid_envelope_is_a_bad_request_with_a_reason(
    receiver: Receiver, body: bytes
) -> None:
    before = receiver.store.counts().accepted
    answer = post(receiver, body)
    assert answer.status == 400
    assert isinstance(answer.json, dict)
    assert "invalid_envelope" in answer.json["detail"]
    assert receiver.store.counts().accepted == before


@pytest.mark.parametrize(
    ("path", "auth", "status"),
    [
        ("/api/1/envelope/", "", 401),
        ("/api/1/envelope/", "Sentry sentry_version=7", 401),
        ("/api/1/envelope/?sentry_key={key}", "Sentry sentry_key={key}", 401),
        ("/api/1/envelope/?sentry_key={key}", "", 200),
        ("/api/1/envelope/", "Sentry sentry_version=7,sentry_key={key}", 200),
        ("/api/1/envelope/", "Sentry sentry_key=0123", 403),
        ("/api/1/envelope/?sentry_key=%C3%A4", "", 403),
        ("/api/2/envelope/", "Sentry sentry_key={key}", 403),
        ("/api/1/envelope", "Sentry sentry_key={key}", 404),
    ],
)
def test_only_the_projects_own_key_is_accepted(
    receiver: Receiver, path: str, auth: str, status: int
) -> None:
    key = receiver.dsn.public_key
    headers = {"X-Sentry-Auth": auth.format(key=key)} if auth else {}
    answer = request(receiver, "POST", path.format(key=key), envelope_bytes(), headers)
    assert answer.status == status


@pytest.mark.parametrize("path", ["/", "/api/1/envelope/"])
def test_a_foreign_host_name_is_refused(receiver: Receiver, path: str) -> None:
    method = "GET" if path == "/" else "POST"
    headers = {"Host": "attacker.example", "X-Sentry-Auth": receiver.dsn.auth_header}
    assert request(receiver, method, path, envelope_bytes(), headers).status == 400


def test_the_plain_page_lists_the_latest_as_text(tmp_path: Path) -> None:
    item = make_item("<script>alert(1)</script>", b"x")
    envelope = build(EVENT_ID, [item])
    with Receiver(view=View(bundle=tmp_path)) as receiver:
        post(receiver, b"\n".join([envelope.header, item.header, item.payload, b""]))
        answer = request(receiver, "GET", "/", b"", {})

    page = answer.body.decode()
    assert answer.status == 200
    assert EVENT_ID in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


ORIGIN = {"topic": "ingest-events", "partition": 3, "offset": 2**62}


@pytest.mark.parametrize(
    ("kafka", "expected"),
    [
        (ORIGIN, KafkaPosition("ingest-events", 3, 2**62)),
        ({**ORIGIN, "offset": -1}, None),
        ({**ORIGIN, "offset": "7"}, None),
        ({**ORIGIN, "partition": True}, None),
        ({**ORIGIN, "partition": 2**63}, None),
        ({**ORIGIN, "topic": "x" * 250}, None),
        ({**ORIGIN, "topic": ""}, None),
        ({"topic": "t"}, None),
        (["t", 1, 2], None),
        (None, None),
    ],
)
def test_a_header_may_contain_the_kafka_position(
    receiver: Receiver, kafka: object, expected: KafkaPosition | None
) -> None:
    envelope = build(EVENT_ID, [make_item("event", b"{}")], {"kafka": kafka})
    assert post(receiver, as_bytes(envelope)).status == 200
    (stored,) = receiver.store.latest(1)
    assert stored.origin == expected
    assert [(answer.destination, answer.status) for answer in stored.answers] == [
        ("inspector", 200)
    ]


def test_an_envelope_is_not_accepted_if_storing_fails(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_entry: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(receiver.store, "add", fail)
    # 503: clients retry.
    assert post(receiver, envelope_bytes()).status == 503


def test_sentry_s_own_sdk_delivers_to_it() -> None:
    with Receiver() as receiver:
        client = sentry_sdk.Client(str(receiver.dsn), default_integrations=False)
        event_id = client.capture_event({"message": "from the SDK"})
        client.close(timeout=10)

        (stored,) = receiver.store.latest(5)
        assert stored.event_id == event_id
        raw = receiver.store.raw(stored.id)
        assert raw is not None
        assert b"from the SDK" in raw


def test_a_client_that_disconnects_early_is_not_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    with Receiver() as receiver:
        with socket.create_connection(("127.0.0.1", receiver.dsn.port), timeout=5) as client:
            head = f"POST /api/1/envelope/?sentry_key={receiver.dsn.public_key} HTTP/1.1\r\n"
            tail = "Host: localhost\r\nContent-Length: 100\r\n\r\n{}"
            client.sendall(f"{head}{tail}".encode())
        assert post(receiver, envelope_bytes()).status == 200
        assert receiver.store.counts().accepted == 1
    # The server has ended, so its log is complete.
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_stop_during_a_request_is_not_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver()
    receiver.start()
    with socket.create_connection(("127.0.0.1", receiver.dsn.port), timeout=10) as client:
        head = f"POST /api/1/envelope/?sentry_key={receiver.dsn.public_key} HTTP/1.1\r\n"
        tail = "Host: localhost\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n"
        client.sendall(f"{head}{tail}".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 100")  # it waits for the body
        receiver.stop()
        assert client.recv(1000).startswith(b"HTTP/1.1 503")
    assert [record for record in caplog.records if record.exc_info] == []


def test_it_listens_on_loopback_only(receiver: Receiver) -> None:
    outward = outward_address()
    if outward is None:
        pytest.skip("this machine has no address but loopback")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((outward, receiver.dsn.port), timeout=5)


def test_a_port_in_use_is_a_service_error(receiver: Receiver) -> None:
    with pytest.raises(ServiceError, match="can't listen"):
        Receiver().start(receiver.dsn.port)


def test_stop_closes_the_port_and_leaves_a_given_store_open() -> None:
    store = Store()
    receiver = Receiver(store)
    receiver.start()
    assert post(receiver, envelope_bytes()).status == 200
    receiver.stop()
    with pytest.raises(ConnectionRefusedError):
        post(receiver, envelope_bytes())
    assert store.counts().accepted == 1
    store.close()
