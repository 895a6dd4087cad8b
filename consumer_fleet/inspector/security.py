"""Who may look: the checks in front of every page and every part of the API, and their headers.

The events are private and their content is hostile. A web page that the same person has open
elsewhere must not reach them (Host against DNS rebinding, Origin against requests across sites),
nobody else on the network may (a token, unless the server listens on loopback alone), and what an
event holds must not run (the policy has no inline script or style).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, unquote_plus, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consumer_fleet.errors import ConfigurationError

LOOPBACK: Final = "127.0.0.1"
TOKEN_CHARS: Final = 16
_ENVELOPES: Final = re.compile(r"/api/([^/]+)/envelope/")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS: Final = (
    ("Content-Security-Policy", _POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
)


@dataclass(frozen=True, slots=True)
class Access:
    """Where the server listens and whom it lets in. ``host`` is an address or a name to bind.

    Without a ``token`` it may listen on loopback only. ``allowed_hosts`` are further names that it
    is called by. Raises ConfigurationError.
    """

    host: str = LOOPBACK
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.token is None and not self.is_loopback:
            raise ConfigurationError(
                f"the inspector shows events to everybody who reaches {self.host}: give a token "
                "(--token-file, or INSPECTOR_TOKEN in the environment), or listen on 127.0.0.1"
            )
        if self.token is not None and not (
            len(self.token) >= TOKEN_CHARS and self.token.isascii() and self.token.isprintable()
        ):
            raise ConfigurationError(
                f"the inspector's token must have {TOKEN_CHARS} or more ASCII characters and no "
                "line break, for example from: openssl rand -hex 16"
            )

    def __repr__(self) -> str:
        return f"Access(host={self.host!r}, token={'***' if self.token else None})"

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        address = _address(self.host)
        return address is not None and address.is_loopback

    @property
    def url_host(self) -> str:
        """How to call the server in a URL: by a name of its own where it listens everywhere."""
        address = _address(self.host)
        if address is not None and address.is_unspecified:
            return self.allowed_hosts[0] if self.allowed_hosts else LOOPBACK
        return f"[{self.host}]" if address is not None and address.version == 6 else self.host

    def knows_host(self, name: str) -> bool:
        """Whether a request may call this server so. ``name`` is without its port."""
        name = name.lower()
        if name in {self.host.lower(), "localhost", *map(str.lower, self.allowed_hosts)}:
            return True
        address = _address(name.removeprefix("[").removesuffix("]"))
        if address is None:
            return False
        # No page can make a browser call this server by an address that is not the page's own.
        return address.is_loopback if self.is_loopback else True


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


class Guard:
    """The outermost ASGI app: ``pages`` for whoever may look, ``envelopes`` for whoever has a key.

    ``envelopes`` gets the project as a path parameter, and nothing in between: it is what has to
    be fast.
    """

    def __init__(self, pages: ASGIApp, envelopes: ASGIApp, *, access: Access, port: int) -> None:
        self._pages = pages
        self._envelopes = envelopes
        self._access = access
        # Browsers share a host's cookies among its ports.
        self._cookie = f"inspector_{port}"
        token = (access.token or "").encode()
        # A cookie says that its holder knew the token, without being it.
        self._cookie_value = hmac.new(token, b"inspector cookie", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        problem = self._problem(headers)
        if problem is not None:
            await problem(scope, receive, send)
            return
        envelopes = _ENVELOPES.fullmatch(scope["path"])
        if envelopes is not None:
            scope["path_params"] = {"project": envelopes[1]}
            await self._envelopes(scope, receive, send)
            return
        answer = self._login(scope) if self._access.token else None
        if answer is None and not self._may_look(headers):
            answer = JSONResponse(
                {"detail": "a token is needed: send it as Authorization: Bearer, or open /?token="},
                401,
                {"WWW-Authenticate": "Bearer"},
            )
        await (answer or self._pages)(scope, receive, _with_headers(send))

    def _problem(self, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if not self._access.knows_host(name):
            detail = f"this server is not called {host[:100]!r} (--allow-host names it)"
            return JSONResponse({"detail": detail}, 400)
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return JSONResponse({"detail": "requests from other origins are refused"}, 403)
        return None

    def _login(self, scope: Scope) -> JSONResponse | RedirectResponse | None:
        """The answer to ``/?token=…``; None for every other request."""
        if scope["path"] != "/":
            return None
        parameters = scope["query_string"].decode("latin-1").split("&")
        given = dict(parameter.partition("=")[::2] for parameter in parameters).get("token")
        if given is None:
            return None
        # As it was pasted, or as a form or a program encodes it.
        if not any(self._is_token(form) for form in (given, unquote(given), unquote_plus(given))):
            return JSONResponse({"detail": "the token is wrong"}, 401)
        answer = RedirectResponse("/", 303)
        # Lax, not strict: with that, a browser that follows a link from elsewhere, be it to this
        # login, comes without it. Other sites can make a browser open a page here, with it, but
        # can't read or frame what they open, and opening a page deletes or sends nothing.
        answer.set_cookie(self._cookie, self._cookie_value, httponly=True, samesite="lax")
        return answer

    def _may_look(self, headers: Headers) -> bool:
        if self._access.token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return True
        # Split by hand: http.cookies takes none of them where one, of whatever else is on this
        # host, is not to its taste.
        cookies = ";".join(headers.getlist("cookie")).split(";")
        pairs = (cookie.strip().partition("=") for cookie in cookies)
        return any(
            name == self._cookie and _same(value, self._cookie_value) for name, _, value in pairs
        )

    def _is_token(self, given: str) -> bool:
        return self._access.token is not None and _same(given, self._access.token)


def _same(given: str, known: str) -> bool:
    """In a time that says nothing of where they differ."""
    return hmac.compare_digest(given.encode(errors="replace"), known.encode())


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS:
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return send_with_headers
