"""The page where the real one is not built: what was kept last, as plain HTML without scripts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape

from inspector.entry import Summary
from inspector.store import Counts

STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem }
td, th { padding: 0 1.5rem 0 0; text-align: left; vertical-align: top }
td:last-child, th:last-child { text-align: right }
"""
_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="5">
<title>Inspector</title>
<link rel="stylesheet" href="/plain.css">
<h1>Received envelopes</h1>
"""
_HINT = """<p>This is the plain page: the inspector's own is not built here.
In a checkout, <code>make setup</code> builds it.</p>
"""
_COLUMNS = "<tr><th>Received (UTC)<th>Event<th>Type<th>Title<th>Items<th>Bytes</tr>"


def render_page(counts: Counts, latest: Iterable[Summary]) -> str:
    rows = "".join(
        f"<tr><td>{_time(entry.received_at)}</td>"
        f"<td><code>{escape(entry.event_id or '-')}</code></td>"
        f"<td>{escape(entry.type)}</td>"
        f"<td><bdi>{escape(entry.title)}</bdi></td>"
        f"<td>{escape(', '.join(entry.item_types) or '-')}</td>"
        f"<td>{entry.size_bytes:,}</td></tr>\n"
        for entry in latest
    )
    return (
        f"{_HEAD}{_HINT}<p>{counts.accepted:,} accepted; the latest {counts.kept:,} are kept.</p>\n"
        f"<table><thead>{_COLUMNS}</thead><tbody>\n{rows}</tbody></table>\n</html>\n"
    )


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # a broker's timestamp may be anything
        return "-"
