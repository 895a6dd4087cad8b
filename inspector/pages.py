"""The page and its files: the built bundle, read once; a plain page where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from inspector.page import STYLE, render_page
from inspector.store import Store

BUNDLE: Final = Path(__file__).parent / "bundle"
_LISTED: Final = 100
# By our own list: the system's may have any type for these, and browsers run no script of another.
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


class Pages:
    """Files are looked up by name in what was read at the start: no request names a path."""

    def __init__(self, store: Store, folder: Path = BUNDLE) -> None:
        self._store = store
        index = folder / "index.html"
        self._index = index.read_bytes() if index.is_file() else None
        assets = folder / "assets"
        self._assets = {
            path.relative_to(assets).as_posix(): (path.read_bytes(), _TYPES[path.suffix])
            for path in sorted(assets.rglob("*"))
            if path.suffix in _TYPES and path.is_file()
        }

    async def index(self, _request: Request) -> Response:
        if self._index is not None:
            return HTMLResponse(self._index)
        return HTMLResponse(render_page(self._store.counts(), self._store.latest(_LISTED)))

    async def plain_style(self, _request: Request) -> Response:
        return Response(STYLE, media_type="text/css")

    async def asset(self, request: Request) -> Response:
        found = self._assets.get(request.path_params["path"])
        if found is None:
            raise HTTPException(404, "no such file")
        content, media_type = found
        # Their names change with what is in them.
        caching = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(content, headers=caching, media_type=media_type)
