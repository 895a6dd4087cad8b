"""Toxiproxy, a TCP proxy that delays and cuts connections on command."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path
from typing import Any, Self

import orjson

from tests.support.go_tools import go_tool
from tests.support.processes import ManagedProcess, free_ports

_TIMEOUT_S = 10


class Toxiproxy:
    """A running server. Raises MissingPart without Go."""

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports(1)
        self._address = f"http://127.0.0.1:{port}"
        self._process = ManagedProcess(
            "toxiproxy",
            [str(go_tool("server")), "-host", "127.0.0.1", "-port", str(port)],
            log=folder / "toxiproxy.log",
            env=os.environ,
            cwd=folder,
        )

    def __enter__(self) -> Self:
        self._process.wait_ready(self._answers, timeout_s=_TIMEOUT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()

    def proxy(self, target_port: int, port: int = 0) -> Proxy:
        """Open a proxy to the port on loopback, at a port of its own if none is given."""
        port = port or free_ports(1)[0]
        proxy = Proxy(self, f"to-{target_port}", port)
        facts = {"name": proxy.name, "listen": f"127.0.0.1:{port}", "enabled": True}
        self.call("POST", "/proxies", {**facts, "upstream": f"127.0.0.1:{target_port}"})
        return proxy

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        request = urllib.request.Request(
            self._address + path, None if body is None else orjson.dumps(body), method=method
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            answer.read()

    def _answers(self) -> bool:
        try:
            self.call("GET", "/version")
        except OSError:
            return False
        return True


class Proxy:
    """One proxy. A change affects its open connections, too."""

    def __init__(self, server: Toxiproxy, name: str, port: int) -> None:
        self.name = name
        self.port = port
        self._server = server

    def cut(self) -> None:
        """Close all connections, and refuse new ones."""
        self._server.call("POST", f"/proxies/{self.name}", {"enabled": False})

    def restore(self) -> None:
        """End the cut."""
        self._server.call("POST", f"/proxies/{self.name}", {"enabled": True})

    def add(self, kind: str, **attributes: int) -> None:
        """Add a fault of one of toxiproxy's types to what the server sends."""
        toxic = {"name": kind, "type": kind, "stream": "downstream", "attributes": attributes}
        self._server.call("POST", f"/proxies/{self.name}/toxics", toxic)

    def remove(self, kind: str) -> None:
        self._server.call("DELETE", f"/proxies/{self.name}/toxics/{kind}")
