"""One Kafka server, step by step: name, connection, TLS, protocol, login mechanism.

librdkafka does all of these at once and retries in the background, so that what it reports in the
end often is only that it gave up. Two requests of Kafka's protocol are enough to tell the steps
apart: ApiVersions and SaslHandshake, which a server answers before a login. No password is sent.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Literal, TypeAlias

Step: TypeAlias = Literal["name", "connection", "TLS", "certificate", "answer", "protocol"]

_STEP_TIMEOUT_S: Final = 3.0
_DEFAULT_PORT: Final = 9092
_SASL_HANDSHAKE: Final = 17
_API_VERSIONS: Final = 18
_CONSUMER_GROUP_HEARTBEAT: Final = 68
_ILLEGAL_SASL_STATE: Final = 34
_LARGEST_ANSWER_BYTES: Final = 1024 * 1024
# Key stores that only librdkafka can open: what the server says after the handshake tells nothing.
_UNREADABLE_KEYS: Final = ("ssl.keystore.location", "ssl.certificate.pem", "ssl.key.pem")


@dataclass(frozen=True, slots=True)
class ServerAnswers:
    """How far the steps got. ``failed`` is the step that did not work, None if all of them did.

    ``mechanisms`` is None where the server wants no SASL login or was not asked.
    """

    server: str
    failed: Step | None = None
    error: str = ""
    took_s: float = 0.0
    apis: frozenset[int] = frozenset()
    mechanisms: tuple[str, ...] | None = None

    @property
    def speaks_kip_848(self) -> bool:
        """Whether consumer groups of the new protocol may be used."""
        return _CONSUMER_GROUP_HEARTBEAT in self.apis


class _Failed(Exception):
    def __init__(self, step: Step, error: str) -> None:
        super().__init__(error)
        self.step = step


def is_tls(kafka: Mapping[str, Any]) -> bool:
    return _protocol(kafka) in ("ssl", "sasl_ssl")


def is_sasl(kafka: Mapping[str, Any]) -> bool:
    return _protocol(kafka).startswith("sasl")


def mechanism(kafka: Mapping[str, Any]) -> str:
    return str(kafka.get("sasl.mechanism") or kafka.get("sasl.mechanisms") or "GSSAPI").upper()


def probe_server(server: str, kafka: Mapping[str, Any]) -> ServerAnswers:
    """Blocks for seconds at most, but for a name server that takes longer.

    Raises OSError for a file of the TLS settings that can't be used.
    """
    host, port = split_server(server)
    context = _tls_context(kafka) if is_tls(kafka) else None
    started = monotonic()
    try:
        with _connect(host, port) as plain, _wrap(plain, host, context) as connection:
            if is_tls(kafka) and any(kafka.get(name) for name in _UNREADABLE_KEYS):
                return ServerAnswers(server, took_s=monotonic() - started)
            apis = _api_versions(connection)
            took_s = monotonic() - started
            mechanisms = _mechanisms(connection, mechanism(kafka))
            return ServerAnswers(server, took_s=took_s, apis=apis, mechanisms=mechanisms)
    except _Failed as error:
        return ServerAnswers(server, error.step, str(error), monotonic() - started)


def split_server(server: str) -> tuple[str, int]:
    """Host and port of ``host:port``, of ``[::1]:port``, each with a protocol before it or not.

    The option ``bootstrap_servers`` checks that a port is there; librdkafka's own setting doesn't.
    """
    place = server.strip().rpartition("://")[2]
    host, _, port = place.rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdecimal() else (place, _DEFAULT_PORT)


def _protocol(kafka: Mapping[str, Any]) -> str:
    return str(kafka.get("security.protocol", "plaintext")).lower()


def _connect(host: str, port: int) -> socket.socket:
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _Failed("name", error.strerror or str(error)) from error
    except (UnicodeError, OverflowError) as error:
        raise _Failed("name", f"no name and port that there can be: {error}") from error
    deadline = monotonic() + _STEP_TIMEOUT_S
    failure = "no address"
    for family, kind, number, _, address in addresses:
        connection = socket.socket(family, kind, number)
        connection.settimeout(max(0.1, deadline - monotonic()))
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error.strerror or f"no answer within {_STEP_TIMEOUT_S:g} s"
        else:
            connection.settimeout(_STEP_TIMEOUT_S)
            return connection
    raise _Failed("connection", failure)


def _wrap(plain: socket.socket, host: str, context: ssl.SSLContext | None) -> socket.socket:
    if context is None:
        return plain
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise _Failed("certificate", error.verify_message) from error
    except ssl.SSLError as error:
        raise _Failed("TLS", error.reason or str(error)) from error
    except TimeoutError as error:
        raise _Failed("TLS", f"no answer within {_STEP_TIMEOUT_S:g} s") from error
    except OSError as error:
        raise _Failed("TLS", error.strerror or str(error)) from error


def _tls_context(kafka: Mapping[str, Any]) -> ssl.SSLContext:
    """As librdkafka's settings have it, as far as Python's TLS knows them."""
    place = kafka.get("ssl.ca.location")
    context = ssl.create_default_context(
        cafile=str(place) if place not in (None, "", "probe") else None,
        cadata=kafka.get("ssl.ca.pem"),
    )
    if str(kafka.get("ssl.endpoint.identification.algorithm", "https")).lower() == "none":
        context.check_hostname = False
    if str(kafka.get("enable.ssl.certificate.verification", "true")).lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = kafka.get("ssl.certificate.location")
    if certificate:
        context.load_cert_chain(
            certificate, kafka.get("ssl.key.location"), kafka.get("ssl.key.password") or ""
        )
    return context


def _api_versions(connection: socket.socket) -> frozenset[int]:
    answer = _ask(connection, _API_VERSIONS, 0, b"")
    try:
        error, count = struct.unpack_from(">hi", answer)
        found = [struct.unpack_from(">hhh", answer, 6 + 6 * index)[0] for index in range(count)]
    except struct.error as problem:
        raise _Failed("protocol", "the answer is not Kafka's") from problem
    if error:
        raise _Failed("protocol", f"ApiVersions is answered with error {error}")
    return frozenset(found)


def _mechanisms(connection: socket.socket, wanted: str) -> tuple[str, ...] | None:
    """What a server that wants a login offers; None where it wants none."""
    name = wanted.encode()
    try:
        answer = _ask(connection, _SASL_HANDSHAKE, 1, struct.pack(">h", len(name)) + name)
        error, count = struct.unpack_from(">hi", answer)
        if error == _ILLEGAL_SASL_STATE:
            return None
        found, position = [], 6
        for _ in range(count):
            (length,) = struct.unpack_from(">h", answer, position)
            if length < 0:
                return None
            found.append(answer[position + 2 : position + 2 + length].decode("latin-1"))
            position += 2 + length
    except (_Failed, struct.error):
        return None  # a server without SASL may as well hang up
    return tuple(found)


def _ask(connection: socket.socket, api: int, version: int, body: bytes) -> bytes:
    """One request and the body of its answer."""
    client = b"consumer-fleet-doctor"
    request = struct.pack(">hhih", api, version, 0, len(client)) + client + body
    try:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _receive(connection, 4))
        if not 4 <= size <= _LARGEST_ANSWER_BYTES:
            raise _Failed("protocol", "the answer is not Kafka's")
        return _receive(connection, size)[4:]
    except TimeoutError as error:
        raise _Failed("answer", f"silent for {_STEP_TIMEOUT_S:g} s") from error
    except OSError as error:
        raise _Failed("protocol", error.strerror or str(error)) from error


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise _Failed("protocol", "it hangs up")
        received += part
    return received
