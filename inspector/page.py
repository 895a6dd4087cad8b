"""The receiver's page: what it accepted last, as plain HTML without scripts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape

from inspector.store import Counts, StoredEnvelope

_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="5">
<title>Received envelopes</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem }
td, th { padding: 0 1.5rem 0 0; text-align: left }
td:last-child, th:last-child { text-align: right }
</style>
<h1>Received envelopes</h1>
"""


def render_page(counts: Counts, latest: Iterable[StoredEnvelope]) -> str:
    rows = "".join(
        f"<tr><td>{_time(envelope.received_at)}</td>"
        f"<td><code>{escape(envelope.event_id or '-')}</code></td>"
        f"<td>{escape(', '.join(envelope.item_types) or '-')}</td>"
        f"<td>{envelope.size_bytes:,}</td></tr>\n"
        for envelope in latest
    )
    return (
        f"{_HEAD}<p>{counts.accepted:,} accepted; the latest {counts.kept:,} are kept.</p>\n"
        "<table><thead><tr><th>Received (UTC)</th><th>Event</th><th>Items</th><th>Bytes</th></tr>"
        f"</thead><tbody>\n{rows}</tbody></table>\n</html>\n"
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
