"""An inspector's memory with a full store, and what accepting and searching cost."""

from __future__ import annotations

import gzip
import http.client
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard
from isal import isal_zlib

from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.inspector.demo import demo_feed
from consumer_fleet.inspector.entry import Filter
from consumer_fleet.inspector.store import Store
from tests.support.inspecting import event_entry
from tests.support.inspector_process import InspectorProcess
from tests.support.posting import post_all

EVENTS = 10_000
LIMIT_MB = 150
KEPT_MB = 50


def errors(count: int) -> list[bytes]:
    """Typical error envelopes of about 4 KB, each with a different event."""
    entry = next(demo_feed())[-1]
    assert entry.envelope is not None
    event = json.loads(entry.envelope.items[0].payload)
    found = []
    for number in range(count):
        event_id = f"{number:032x}"
        payload = json.dumps({**event, "event_id": event_id})
        found.append(f'{{"event_id":"{event_id}"}}\n{{"type":"event"}}\n{payload}\n'.encode())
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_10000_errors_of_4_kb_are_kept_in_at_most_150_mb(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with InspectorProcess(tmp_path) as inspector:
        dsn = Dsn.parse(inspector.dsn)
        envelopes = errors(EVENTS)
        post_all(dsn, envelopes)
        counts = inspector.get("/api/status")["counts"]
        inspector.events("q=RateMissing&limit=1000")
        rss_mb = inspector.rss_mb()
        with capsys.disabled():
            kept = f"{counts['kept']:,} events, {counts['kept_bytes']:,} bytes"
            print(f"\n  {kept}: {rss_mb:.0f} MB")  # noqa: T201 - the figure is worth a line
        assert counts["accepted"] == counts["kept"] == EVENTS
        assert rss_mb <= LIMIT_MB


def bombs() -> Iterator[tuple[str, bytes]]:
    """A gigabyte each."""
    compressor = isal_zlib.compressobj(1, wbits=31)  # zlib takes seconds for as few bytes
    zeros = bytes(1024 * 1024)
    gzipped = b"".join([*(compressor.compress(zeros) for _ in range(1024)), compressor.flush()])
    yield "gzip", gzipped
    yield "zstd", zstandard.compress(zeros * 1024)
    yield "gzip", gzip.compress(b"{}\n" + b'{"type":"a"}\n\n' * 1_000_000)


@pytest.mark.timed
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_decompression_bomb_is_bounded_and_blocks_no_other_client(tmp_path: Path) -> None:
    with InspectorProcess(tmp_path) as inspector, ThreadPoolExecutor(4) as pool:
        dsn, before_mb = Dsn.parse(inspector.dsn), inspector.rss_mb()
        for encoding, bomb in bombs():
            posted = [pool.submit(post, dsn, bomb, encoding) for _ in range(4)]
            waits_s = []
            while not all(each.done() for each in posted):
                started_s = time.monotonic()
                inspector.events("limit=1")
                waits_s.append(time.monotonic() - started_s)
            assert {each.result() for each in posted} <= {400, 413}
            assert not waits_s or max(waits_s) < 1
        # As for a large envelope: its decoded bytes, and as much again while it is processed.
        assert inspector.peak_rss_mb() - before_mb < KEPT_MB * 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_envelope_takes_twice_its_size_for_a_moment(tmp_path: Path) -> None:
    large_mb = KEPT_MB - 5
    raw = b'{}\n{"type":"attachment"}\n' + b"x" * (large_mb * 1024 * 1024)
    with InspectorProcess(tmp_path) as inspector:
        dsn, before_mb = Dsn.parse(inspector.dsn), inspector.rss_mb()
        for _ in range(2):
            assert post(dsn, raw, "identity") == 200
        (event,) = inspector.events()
        assert inspector.get(f"/api/events/{event['id']}")["items"][0]["size_bytes"] > 0
        # Once more for the stored bytes.
        assert inspector.peak_rss_mb() - before_mb < large_mb * 3 + 20
        assert inspector.rss_mb() - before_mb < large_mb + 20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_of_large_envelopes_is_returned(tmp_path: Path) -> None:
    with InspectorProcess(tmp_path) as inspector:
        dsn, before_mb = Dsn.parse(inspector.dsn), inspector.rss_mb()
        for size_mb in (10, 20, 30, 20, 10):
            raw = b'{}\n{"type":"attachment"}\n' + b"x" * (size_mb * 1024 * 1024)
            assert post(dsn, raw, "identity") == 200
            newest = inspector.events("limit=1")[0]["id"]
            for _ in range(2):
                inspector.get(f"/api/events/{newest}")
        assert inspector.rss_mb() - before_mb < KEPT_MB + 20


def post(dsn: Dsn, body: bytes, encoding: str) -> int:
    connection = http.client.HTTPConnection(dsn.host, dsn.port, timeout=30)
    headers = {"X-Sentry-Auth": dsn.auth_header, "Content-Encoding": encoding}
    try:
        connection.request("POST", f"/api/{dsn.project_id}/envelope/", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.timed
def test_a_search_of_10000_events_takes_less_than_50_ms() -> None:
    store = Store()
    text = "connection to the database was refused by its server " * 3
    store.add_all(
        [
            event_entry(
                {"message": f"{text}{number}", "platform": "python"},
                f"{number:032x}",
                received_at=float(number),
            )
            for number in range(10_000)
        ]
    )
    best_ms = {}
    for words in ("refused 9999", "no such words", "refused 1", "its word"):
        took_s = []
        for _ in range(3):
            started = time.perf_counter()
            store.page(Filter(text=words))
            took_s.append(time.perf_counter() - started)
        best_ms[words] = min(took_s) * 1000
    store.close()
    assert max(best_ms.values()) < 50, best_ms
