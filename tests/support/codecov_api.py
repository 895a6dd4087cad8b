"""Codecov's file report endpoint on loopback, with its documented and a few broken responses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

TOKEN = "8f5c2a51-0f2e-4f6d-9f5a-secret"
SLUG = "acme/shop"
DEFAULT_BRANCH = "main"
_PREFIX = "/api/v2/github/acme/repos/shop/file_report/"


@dataclass(frozen=True)
class Asked:
    """One request. ``target`` is the raw request target; ``ref`` is ``sha:…`` or ``branch:…``."""

    target: str
    path: str
    ref: str
    authorization: str | None


@dataclass
class Codecov:
    """Use it as a context manager. ``reports``: ref → path → line coverage."""

    reports: dict[str, dict[str, list[list[int]]]] = field(default_factory=dict)
    #: If set, writes the whole response instead.
    answer: Callable[[BaseHTTPRequestHandler], object] | None = None
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        codecov = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                codecov._serve(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's
                """The tests look at ``asked``."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def refs(self) -> list[str]:
        return [asked.ref for asked in self.asked]

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = parse_qs(parts.query)
        refs = [f"{kind}:{query[kind][0]}" for kind in ("sha", "branch") if kind in query]
        ref = refs[0] if refs else f"branch:{DEFAULT_BRANCH}"
        path = unquote(parts.path.removeprefix(_PREFIX))
        authorization = handler.headers.get("Authorization")
        self.asked.append(Asked(handler.path, path, ref, authorization))
        if self.answer is not None:
            self.answer(handler)
        elif authorization != f"Bearer {TOKEN}":
            reply(handler, 401, {"detail": "Invalid token."})
        elif not parts.path.startswith(_PREFIX):
            reply(handler, 404, {"detail": "Not found."})
        elif path not in self.reports.get(ref, {}):
            reply(handler, 404, {"detail": f"coverage info not found for path '{path}'"})
        else:
            reply(handler, 200, _file_report(ref, path, self.reports[ref][path]))


def reply(handler: BaseHTTPRequestHandler, status: int, document: object) -> None:
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _file_report(ref: str, path: str, lines: list[list[int]]) -> dict[str, object]:
    """A hit is 0, a miss 1, a partial 2."""
    codes = [code for _, code in lines]
    sha = ref.removeprefix("sha:") if ref.startswith("sha:") else "f" * 40
    return {
        "name": path,
        "totals": {
            "files": 0,
            "lines": len(codes),
            "hits": codes.count(0),
            "misses": codes.count(1),
            "partials": codes.count(2),
            "coverage": round(100 * codes.count(0) / len(codes), 2) if codes else 0,
            "branches": 0,
            "methods": 0,
            "messages": 0,
            "sessions": 0,
            "complexity": 0.0,
            "complexity_total": 0.0,
            "complexity_ratio": 0,
            "diff": 0,
        },
        "line_coverage": lines,
        "commit_sha": sha,
        "commit_file_url": f"https://app.codecov.io/gh/{SLUG}/commit/{sha}/blob/{path}",
    }
