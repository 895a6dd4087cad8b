"""Can each Kafka server be reached, and is it spoken to in the way that it expects?"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Literal, TypeAlias

from consumer_fleet.doctor.finding import Finding, ok, problem

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


_CHECK: Final = "kafka.server"
_SEEN: Final[dict[Step, str]] = {
    "name": "the name does not resolve",
    "connection": "no connection",
    "TLS": "it takes the connection, but TLS fails",
    "certificate": "its certificate is not trusted",
    "answer": "it takes the connection, but does not answer",
    "protocol": "it takes the connection, but does not speak Kafka",
}
_FIXES: Final[dict[Step, str]] = {
    "name": "Check the name in bootstrap_servers, and this machine's name servers.",
    "connection": "Check host and port, that Kafka runs, and firewalls and network policies in "
    "between.",
    "TLS": "If that port speaks no TLS, set security.protocol in kafka_config to PLAINTEXT or "
    "SASL_PLAINTEXT.",
    "certificate": "Set ssl.ca.location in kafka_config to the PEM file of the authority that "
    "signed it. To see it:\nopenssl s_client -connect {host}:{port} -showcerts",
    "answer": "Look at the broker and its log: it may hang, be overloaded, or start; or the port "
    "is not Kafka's.",
    "protocol": "If that port speaks TLS, set security.protocol in kafka_config to SSL or "
    "SASL_SSL; else check that it is Kafka's.",
}


def examine_server(server: str, kafka: Mapping[str, Any]) -> Iterator[Finding]:
    """All findings about one server. Blocks for seconds."""
    try:
        answers = probe_server(server, kafka)
    except OSError as error:
        yield problem(
            _CHECK,
            server,
            f"the TLS settings can't be used: {error.strerror or error}",
            "Check ssl.ca.location, ssl.certificate.location, ssl.key.location and "
            "ssl.key.password in kafka_config.",
        )
        return
    yield from judge_server(answers, kafka)


def judge_server(answers: ServerAnswers, kafka: Mapping[str, Any]) -> Iterator[Finding]:
    """What the steps say of the server and of the settings."""
    server = answers.server
    if answers.failed is not None:
        host, port = split_server(server)
        fix = _FIXES[answers.failed].format(host=host, port=port)
        if answers.failed == "protocol" and is_tls(kafka):
            fix = "Check that the port is Kafka's, and that it does not want a client certificate."
        yield problem(_CHECK, server, f"{_SEEN[answers.failed]}: {answers.error}", fix)
        return
    login = _login(answers, kafka)
    if login is not None:
        yield login
        return
    yield ok(_CHECK, server, _answers_in(answers, kafka))
    protocol = str(kafka.get("group.protocol", "classic")).lower()
    if protocol == "consumer" and answers.apis and not answers.speaks_kip_848:
        yield problem(
            _CHECK,
            server,
            "group.protocol is consumer, but it knows no such groups (KIP-848)",
            "Remove group.protocol from kafka_config, or use Kafka 4.0 or newer.",
        )


def _login(answers: ServerAnswers, kafka: Mapping[str, Any]) -> Finding | None:
    """What is wrong with the way to log in, whatever the password is."""
    offered = answers.mechanisms
    if offered and not is_sasl(kafka):
        protocol = "SASL_SSL" if is_tls(kafka) else "SASL_PLAINTEXT"
        return problem(
            _CHECK,
            answers.server,
            f"it wants a SASL login ({', '.join(offered)}), and none is configured",
            f"In kafka_config, set security.protocol to {protocol}, and sasl.mechanism, "
            "sasl.username and sasl.password.",
        )
    if is_sasl(kafka) and offered and mechanism(kafka) not in offered:
        return problem(
            _CHECK,
            answers.server,
            f"it does not offer the SASL mechanism {mechanism(kafka)}",
            f"Set sasl.mechanism in kafka_config to one that it offers: {', '.join(offered)}.",
        )
    if is_sasl(kafka) and answers.apis and offered is None:
        return problem(
            _CHECK,
            answers.server,
            "it knows no SASL login on that port",
            "Use the port of a SASL listener, or set security.protocol in kafka_config to "
            f"{'SSL' if is_tls(kafka) else 'PLAINTEXT'}.",
        )
    return None


def _answers_in(answers: ServerAnswers, kafka: Mapping[str, Any]) -> str:
    parts = [f"answers in {answers.took_s * 1000:,.0f} ms"]
    if is_tls(kafka):
        parts.append("TLS")
    if answers.mechanisms:
        parts.append(f"SASL {mechanism(kafka)}")
    if answers.apis:
        parts.append(f"KIP-848 groups: {'yes' if answers.speaks_kip_848 else 'no'}")
    return ", ".join(parts)
