"""What an inspector costs: memory with a full store, and time on the path that accepts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fleet.capture.dsn import Dsn
from inspector.demo import demo_feed
from tests.support.inspector_process import InspectorProcess
from tests.support.posting import post_all

EVENTS = 10_000
LIMIT_MB = 150


def errors(count: int) -> list[bytes]:
    """Envelopes of an error as SDKs send it, about 4 KB each; every one is another event."""
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
def test_10000_events_fit_into_150_mb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
        assert counts["kept"] == EVENTS
        assert rss_mb <= LIMIT_MB
