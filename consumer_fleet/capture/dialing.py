"""TCP connections to one host: names are resolved in a thread, and every address is tried.

The proxy that the environment asks for, and the authorities that TLS trusts, are looked up here.
"""

from __future__ import annotations

import errno
import math
import os
import re
import select
import socket
import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi

from consumer_fleet.capture.delivery_loop import DeliveryLoop
from consumer_fleet.errors import ConfigurationError

# A new connection waits for a name that was resolved longer ago.
_NAME_AGE_S: Final = 60.0
# The name is resolved again, in the background, once it is as old as this and is in use.
NAME_REFRESH_S: Final = 25.0
_RETRY_S: Final = 5.0
# The next address is tried beside one that has not answered after this time (RFC 8305).
_NEXT_ADDRESS_S: Final = 0.25
_PROXY: Final = re.compile(
    r"(?:[a-z][a-z0-9+.\-]*://)?(?:[!-.0-9;-?A-~]*(?::[!-.0-9:-?A-~]*)?@)?"
    r"(?:[A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.%]+\])(?::[0-9]{1,5})?(?:/[!-?A-~]*)?",
    re.IGNORECASE,
)


class Address(NamedTuple):
    """An address as ``socket`` takes it."""

    family: int
    address: Any


class Resolver:
    """The addresses of one host. Never blocks: a thread resolves them, then wakes the loop."""

    def __init__(self, host: str, port: int, loop: DeliveryLoop) -> None:
        self._host = host
        self._port = port
        self._loop = loop
        self._addresses: list[Address] = []
        self._resolved_at = -math.inf
        self._is_resolving = False
        # When `refresh` is due, by the loop's clock.
        self.due = math.inf
        self.error = ""
        # Set by the thread, and cleared by the pool that waits for addresses.
        self.has_news = False
        try:
            self._addresses = _lookup(host, port, socket.AI_NUMERICHOST)
        except OSError:
            return  # it is a name
        self._resolved_at = math.inf

    def addresses(self) -> list[Address] | None:
        """The addresses, best first; None while they are being resolved. Empty: see ``error``."""
        if self._loop.clock() - self._resolved_at < _NAME_AGE_S:
            return self._addresses
        self.refresh()
        return None

    def refresh(self) -> None:
        """Resolve the name again. Until then, the addresses stay in use."""
        if not self._is_resolving:
            self._is_resolving = True
            self.due = math.inf
            threading.Thread(target=self._resolve, name="resolver", daemon=True).start()

    def has(self, address: Any) -> bool:
        """Whether the name has that address of a socket, as far as is known."""
        return not self._addresses or any(
            each.address[:2] == address[:2] for each in self._addresses
        )

    def prefer(self, address: Address) -> None:
        """Put an address first that has just taken a connection."""
        if self._addresses and self._addresses[0] != address and address in self._addresses:
            self._addresses.remove(address)
            self._addresses.insert(0, address)

    def _resolve(self) -> None:
        try:
            self._addresses = _alternate_families(_lookup(self._host, self._port))
            self._resolved_at = self._loop.clock()
            due = self._resolved_at + NAME_REFRESH_S
        except (OSError, UnicodeError) as error:
            # Addresses of a minute ago are better than no addresses.
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self.error = f"can't resolve {self._host}: {reason}"
            now = self._loop.clock()
            self._resolved_at = max(self._resolved_at, now - _NAME_AGE_S + 1.0)
            due = now + _RETRY_S
        self._is_resolving = False
        self.has_news = True
        self.due = due
        self._loop.wake()


def _lookup(host: str, port: int, flags: int = 0) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [Address(family, address) for family, _, _, _, address in found]


def _alternate_families(addresses: list[Address]) -> list[Address]:
    """Keep the order within each family, and begin with the first address's."""
    first = [each for each in addresses if each.family == addresses[0].family]
    second = [each for each in addresses if each.family != addresses[0].family]
    mixed: list[Address] = []
    while first or second:
        mixed += first[:1] + second[:1]
        first, second = first[1:], second[1:]
    return mixed


class Dial:
    """An attempt to connect. ``on_done`` gets a socket, or None and the reason.

    It is called once, by `turn` or by the loop, unless the dial is cancelled.
    """

    def __init__(
        self,
        loop: DeliveryLoop,
        resolver: Resolver,
        on_done: Callable[[socket.socket | None, str], None],
    ) -> None:
        self._loop = loop
        self._resolver = resolver
        self._on_done = on_done
        self._left: list[Address] | None = None
        self._trying: dict[int, tuple[socket.socket, Address]] = {}
        self._next_due = -math.inf
        self._error = ""
        self.is_over = False

    def turn(self, now: float) -> float:
        """Do everything that is due; returns when to be called again."""
        if self.is_over:
            return math.inf
        if self._left is None:
            addresses = self._resolver.addresses()
            if addresses is None:
                return math.inf  # the resolver wakes the loop
            self._left = list(addresses)
            self._error = self._resolver.error
        while self._left and (not self._trying or now >= self._next_due):
            self._try(self._left.pop(0))
            self._next_due = now + _NEXT_ADDRESS_S
        if not self._trying:
            self._finish(None, self._error or "no address")
            return math.inf
        return self._next_due if self._left else math.inf

    def cancel(self) -> None:
        """Close all attempts."""
        self.is_over = True
        for sock, _ in self._trying.values():
            self._loop.unwatch(sock.fileno())
            sock.close()
        self._trying.clear()

    def _try(self, address: Address) -> None:
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM)
        except OSError as error:
            self._error = _describe(error.errno, address)
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(address.address)
        if code in (0, errno.EINPROGRESS):
            fd = sock.fileno()
            self._trying[fd] = (sock, address)
            self._loop.watch(fd, select.EPOLLOUT, lambda _mask: self._on_ready(fd))
        else:
            sock.close()
            self._error = _describe(code, address)

    def _on_ready(self, fd: int) -> None:
        sock, address = self._trying.pop(fd)
        self._loop.unwatch(fd)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            self._resolver.prefer(address)
            self._finish(sock, "")
            return
        sock.close()
        self._error = _describe(code, address)
        self._next_due = -math.inf
        # Later: a new socket may get the number of a closed one that this turn has an event for.
        self._loop.defer(self._try_next)

    def _try_next(self) -> None:
        self.turn(self._loop.clock())

    def _finish(self, sock: socket.socket | None, error: str) -> None:
        self.cancel()
        self._on_done(sock, error)


def _describe(code: int | None, address: Address) -> str:
    host, port = address.address[:2]
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"can't connect to {name}: {os.strerror(code or 0)}"


def authorities(ca_file: str | os.PathLike[str] | None) -> bytes:
    """The path of the PEM file with the certificate authorities to trust: certifi's by default.

    In bytes, because pycurl takes no text but ASCII.
    """
    return os.fsencode(ca_file or certifi.where())


def proxy_from_environment(url: str) -> str:
    """The proxy that ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy`` ask for.

    Empty if there is none. Raises ConfigurationError, without its text, if it is not a URL.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    if not proxies or proxy_bypass(parts.netloc):
        return ""
    name = parts.scheme if proxies.get(parts.scheme) else "all"
    proxy = proxies.get(name, "")
    if proxy and not _PROXY.fullmatch(proxy):
        raise ConfigurationError(
            f"the proxy in {name}_proxy is not a valid URL; expected "
            "http://USER:PASSWORD@HOST:PORT, where a user or password writes /, @, a space "
            "and letters outside ASCII in percent-encoding, like %2F"
        )
    return proxy
