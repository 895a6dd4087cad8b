"""Access control: the checks and headers of every page and API request.

Events are private and their content may be hostile. Web pages open in the same browser must not
reach them (Host against DNS rebinding, Origin against cross-site requests), nor may others on the
network (a token, unless the server listens on loopback), and their content must not run (the
policy allows no inline script or style).
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
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consumer_fleet.errors import ConfigurationError

LOOPBACK: Final = "127.0.0.1"
TOKEN_CHARS: Final = 16
TOKEN_VARIABLE: Final = "INSPECTOR_TOKEN"  # noqa: S105 - the name of a variable, not a token
_ENVELOPES: Final = re.compile(r"/api/([^/]+)/envelope/")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#@*]+")
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "Content-Type, Content-Encoding, X-Sentry-Auth",
    "Access-Control-Allow-Private-Network": "true",
    "Access-Control-Max-Age": "600",
}
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
    """The address to listen on, and who has access. ``host`` is an address or a name to bind.

    Without a ``token``, only loopback is allowed. ``allowed_hosts`` are additional Host names. The
    browser SDKs of ``allowed_origins`` may send envelopes; they may read nothing. ``names_option``
    is the option that adds names, if there is one. Raises ConfigurationError.
    """

    host: str = LOOPBACK
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    names_option: str | None = "--allow-host"

    def __post_init__(self) -> None:
        if self.token is None and not self.is_loopback:
            raise ConfigurationError(
                f"anyone who reaches {self.host} could read the page: set a token "
                f"({TOKEN_VARIABLE} in the environment, or --token-file of consumer inspect), or "
                "listen on 127.0.0.1"
            )
        if self.token is not None and not (
            len(self.token) >= TOKEN_CHARS and self.token.isascii() and self.token.isprintable()
        ):
            raise ConfigurationError(
                f"the inspector's token needs {TOKEN_CHARS} or more printable ASCII characters; "
                "create one with: openssl rand -hex 16"
            )
        for origin in self.allowed_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigurationError(
                    f"{origin!r} is not a valid origin: expected a scheme, a host and, if needed, "
                    "a port, for example http://localhost:3000"
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
        """The host for URLs: an allowed name if the server listens on all addresses."""
        address = _address(self.host)
        if address is not None and address.is_unspecified:
            return self.allowed_hosts[0] if self.allowed_hosts else LOOPBACK
        return f"[{self.host}]" if address is not None and address.version == 6 else self.host

    def knows_host(self, name: str) -> bool:
        """Whether a request may use this Host. ``name`` has no port."""
        name = name.lower()
        if name in {self.host.lower(), "localhost", *map(str.lower, self.allowed_hosts)}:
            return True
        address = _address(name.removeprefix("[").removesuffix("]"))
        if address is None:
            return False
        # DNS rebinding requires a name: a page can't forge the address its browser connects to.
        return address.is_loopback if self.is_loopback else True


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


class Guard:
    """The outermost ASGI app: ``pages`` require the token, ``envelopes`` check the DSN's key.

    ``envelopes`` gets the project as a path parameter, without a router in between: it must be
    fast.
    """

    def __init__(self, pages: ASGIApp, envelopes: ASGIApp, *, access: Access, port: int) -> None:
        self._pages = pages
        self._envelopes = envelopes
        self._access = access
        # Browsers share a host's cookies between its ports.
        self._cookie = f"inspector_{port}"
        token = (access.token or "").encode()
        # The cookie proves knowledge of the token without containing it.
        self._cookie_value = hmac.new(token, b"inspector cookie", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        envelopes = _ENVELOPES.fullmatch(scope["path"])
        origin = headers.get("origin", "")
        is_foreign = envelopes is not None and origin in self._access.allowed_origins
        problem = self._problem(headers, allows_origin=is_foreign)
        if problem is not None:
            await problem(scope, receive, send)
            return
        if is_foreign:
            send = _with_headers(send, _cors_headers(origin))
            if scope["method"] == "OPTIONS":
                await Response(status_code=204, headers=_PREFLIGHT)(scope, receive, send)
                return
        if envelopes is not None:
            scope["path_params"] = {"project": envelopes[1]}
            await self._envelopes(scope, receive, send)
            return
        answer = self._login(scope) if self._access.token else None
        if answer is None and not self._is_authorized(headers):
            answer = JSONResponse(
                {"detail": "token required: Authorization: Bearer TOKEN, or open /?token=TOKEN"},
                401,
                {"WWW-Authenticate": "Bearer"},
            )
        await (answer or self._pages)(scope, receive, _with_headers(send))

    def _problem(self, headers: Headers, *, allows_origin: bool) -> JSONResponse | None:
        host = headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if not self._access.knows_host(name):
            option = self._access.names_option
            instead = f"add it with {option}" if option else "use localhost or an IP address"
            detail = f"Host {host[:100]!r} is not allowed: {instead}"
            return JSONResponse({"detail": detail}, 400)
        origin = headers.get("origin")
        if allows_origin or origin is None:
            return None
        if origin.partition("://")[2].lower() != host.lower():
            return JSONResponse({"detail": "cross-origin requests are not allowed"}, 403)
        return None

    def _login(self, scope: Scope) -> JSONResponse | RedirectResponse | None:
        """The response to ``/?token=…``; None for any other request."""
        if scope["path"] != "/":
            return None
        parameters = scope["query_string"].decode("latin-1").split("&")
        given = dict(parameter.partition("=")[::2] for parameter in parameters).get("token")
        if given is None:
            return None
        # As pasted, or as encoded by a form or a program.
        if not any(self._is_token(form) for form in (given, unquote(given), unquote_plus(given))):
            return JSONResponse({"detail": "wrong token"}, 401)
        answer = RedirectResponse("/", 303)
        # Lax, because browsers send no strict cookie when they follow a link from another site,
        # even to this login. Other sites can make a browser open a page here with the cookie, but
        # they can't read or frame it, and opening a page changes nothing.
        answer.set_cookie(self._cookie, self._cookie_value, httponly=True, samesite="lax")
        return answer

    def _is_authorized(self, headers: Headers) -> bool:
        if self._access.token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return True
        # Not http.cookies: it drops all cookies if a single one, of any other program on this
        # host, is malformed.
        cookies = ";".join(headers.getlist("cookie")).split(";")
        pairs = (cookie.strip().partition("=") for cookie in cookies)
        return any(
            name == self._cookie and _same(value, self._cookie_value) for name, _, value in pairs
        )

    def _is_token(self, given: str) -> bool:
        return self._access.token is not None and _same(given, self._access.token)


def _same(given: str, known: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode(errors="replace"), known.encode())


def _cors_headers(origin: str) -> tuple[tuple[str, str], ...]:
    """The origin may read the answer: SDKs obey its rate limits."""
    return (
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", "Retry-After, X-Sentry-Error, X-Sentry-Rate-Limits"),
        ("Vary", "Origin"),
    )


def _with_headers(send: Send, headers: tuple[tuple[str, str], ...] = _HEADERS) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = MutableHeaders(scope=message)
            for name, value in headers:
                given[name] = value
            given.setdefault("Cache-Control", "no-store")
        await send(message)

    return send_with_headers
