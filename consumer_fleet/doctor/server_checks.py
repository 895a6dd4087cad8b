"""Each Kafka server: whether it can be reached, and in the way that it expects.

Name, connection, TLS and certificate are checked by the standard library, which tells them apart.
Everything behind that is librdkafka's to say: a client of its own connects to each server as the
consumer does, and its log tells in which state it failed.
"""

from __future__ import annotations

import logging
import re
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final, Literal, TypeAlias

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from consumer_fleet.doctor.finding import Finding, ok, problem
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.kafka.clients import admin_config, make_client
from consumer_fleet.kafka.cluster import Cluster

Step: TypeAlias = Literal[
    "name",
    "connection",
    "tls",
    "certificate",
    "silence",
    "protocol",
    "tls expected",
    "login expected",
    "no login",
    "mechanism",
]

_CHECK: Final = "kafka.server"
_STEP_TIMEOUT_S: Final = 3.0
_DEFAULT_PORT: Final = 9092
_KEY_STORES: Final = ("ssl.keystore.location", "ssl.certificate.pem", "ssl.key.pem")
_SEEN: Final[Mapping[Step, str]] = {
    "name": "the name does not resolve",
    "connection": "no connection",
    "tls": "it accepts the connection, but TLS fails",
    "certificate": "its certificate is not trusted",
    "silence": "it accepts the connection, but does not answer",
    "protocol": "it accepts the connection, but does not speak Kafka",
    "tls expected": "it expects TLS, and security.protocol is {protocol}",
    "login expected": "it expects a SASL login, and none is configured",
    "no login": "it has no SASL login on that port",
    "mechanism": "it does not offer the SASL mechanism {mechanism}",
}
_FIXES: Final[Mapping[Step, str]] = {
    "name": "Check the name in bootstrap_servers, and this machine's name servers.",
    "connection": "Check host and port, that Kafka runs, and firewalls and network policies in "
    "between.",
    "tls": "If that port does not speak TLS, set security.protocol in kafka_config to PLAINTEXT or "
    "SASL_PLAINTEXT.",
    "certificate": "Set ssl.ca.location in kafka_config to the PEM file of the authority that "
    "signed it. To see it:\nopenssl s_client -connect {host}:{port} -showcerts",
    "silence": "Check the broker and its log: it may hang, be overloaded, or be starting; or the "
    "port is not Kafka's.",
    "protocol": "Check that the port is Kafka's, and whether it requires a client certificate.",
    "tls expected": "Set security.protocol in kafka_config to SSL or SASL_SSL.",
    "login expected": "In kafka_config, set security.protocol to SASL_{transport}, and "
    "sasl.mechanism, sasl.username and sasl.password.",
    "no login": "Use the port of a SASL listener, or set security.protocol in kafka_config to "
    "{transport}.",
    "mechanism": "Set sasl.mechanism in kafka_config to one that it offers.",
}
# By OpenSSL's code (X509_V_ERR_…), where another authority would not help.
_CERTIFICATE_FIXES: Final = {
    9: "Correct this machine's clock, or wait until the certificate is valid.",
    10: "Renew the broker's certificate.",
    62: "Name the broker as its certificate does, or issue one for this name.",
    64: "Name the broker as its certificate does, or issue one for this address.",
}


class ServerFailure(Exception):
    """The step that a server fails at, and why. ``fix`` replaces the step's own."""

    def __init__(self, step: Step, why: str, fix: str = "") -> None:
        super().__init__(why)
        self.step = step
        self.fix = fix


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """``took_s`` is None where the login was refused; ``has_new_groups`` (KIP-848) is None where
    the server did not list its APIs.
    """

    took_s: float | None
    has_new_groups: bool | None


def is_tls(kafka: Mapping[str, Any]) -> bool:
    return _protocol(kafka) in ("ssl", "sasl_ssl")


def is_sasl(kafka: Mapping[str, Any]) -> bool:
    return _protocol(kafka).startswith("sasl")


def mechanism(kafka: Mapping[str, Any]) -> str:
    return str(kafka.get("sasl.mechanism") or kafka.get("sasl.mechanisms") or "GSSAPI").upper()


def _protocol(kafka: Mapping[str, Any]) -> str:
    return str(kafka.get("security.protocol", "plaintext")).lower()


def split_server(server: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[::1]:port``, with or without a protocol before it.

    The option ``bootstrap_servers`` requires a port; librdkafka's own setting doesn't.
    """
    address = server.strip().rpartition("://")[2]
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdecimal() else (address, _DEFAULT_PORT)


# -- name, connection and TLS: the standard library ---------------------------------------------


def connect(server: str, kafka: Mapping[str, Any]) -> None:
    """Connect, with TLS if the settings say so, and disconnect. Blocks for seconds.

    Raises ServerFailure, or OSError for a file of the TLS settings that can't be used.
    """
    host, port = split_server(server)
    context = _tls_context(kafka) if is_tls(kafka) else None
    with _open(host, port) as plain:
        if context is None:
            return
        try:
            _shake_hands(plain, host, context)
        except ServerFailure as failure:
            # Only librdkafka can open these key stores: its own handshake decides.
            if failure.step != "tls" or not any(kafka.get(name) for name in _KEY_STORES):
                raise


def _open(host: str, port: int) -> socket.socket:
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ServerFailure("name", error.strerror or str(error)) from error
    except (UnicodeError, OverflowError) as error:
        raise ServerFailure("name", f"not a valid name and port: {error}") from error
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
    raise ServerFailure("connection", failure)


def _shake_hands(plain: socket.socket, host: str, context: ssl.SSLContext) -> None:
    try:
        context.wrap_socket(plain, server_hostname=host).close()
    except ssl.SSLCertVerificationError as error:
        fix = _CERTIFICATE_FIXES.get(error.verify_code, "")
        raise ServerFailure("certificate", error.verify_message, fix) from error
    except ssl.SSLError as error:
        raise ServerFailure("tls", error.reason or str(error)) from error
    except OSError as error:
        why = error.strerror or f"no answer within {_STEP_TIMEOUT_S:g} s"
        raise ServerFailure("tls", why) from error


def _tls_context(kafka: Mapping[str, Any]) -> ssl.SSLContext:
    """As librdkafka's settings have it, as far as Python's TLS knows them."""
    location = str(kafka.get("ssl.ca.location") or "probe")
    is_folder = Path(location).is_dir()
    context = ssl.create_default_context(
        cafile=None if location == "probe" or is_folder else location,
        capath=location if is_folder else None,
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


def _speaks_tls(server: str) -> bool:
    trusting = {"security.protocol": "ssl", "enable.ssl.certificate.verification": "false"}
    try:
        connect(server, trusting)
    except ServerFailure:
        return False
    return True


# -- what follows: librdkafka -------------------------------------------------------------------

# How librdkafka logs the end of a connection: why, and in which state it was.
_CONNECTION_END = re.compile(r"FAIL .*\]: \S+: (.+?) \(after \d+ms in state ([A-Z_]+)")
_OFFERED = re.compile(r"broker's supported mechanisms: *(.*)")
_LISTS_APIS: Final = "Broker API support"
_HAS_NEW_GROUPS: Final = "ApiKey ConsumerGroupHeartbeat"


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def ask_server(server: str, kafka: Mapping[str, Any]) -> ServerFacts:
    """Have librdkafka connect to this one server. Blocks for ``_STEP_TIMEOUT_S`` at most.

    A refused password is not this server's failure. Raises ServerFailure, or ConfigurationError for
    a setting that librdkafka refuses.
    """
    log, handler = logging.Logger("librdkafka"), _Lines()
    log.addHandler(handler)
    timeout_ms = int(_STEP_TIMEOUT_S * 1000)
    config = {
        **admin_config(kafka),
        "bootstrap.servers": server,
        "debug": "feature",  # logs the APIs that the server lists
        "log.connection.close": True,
        "api.version.request.timeout.ms": timeout_ms * 2 // 3,
        "reconnect.backoff.ms": timeout_ms // 10,
    }
    client = make_client(AdminClient, config, log)
    started = monotonic()
    took_s = None
    error_text = ""
    try:
        client.list_topics(timeout=_STEP_TIMEOUT_S)
        took_s = monotonic() - started
    except KafkaException as error:
        error_text = error.args[0].str()
    client.poll(0)  # delivers the log
    lists_apis = any(_LISTS_APIS in line for line in handler.lines)
    if took_s is None:
        _raise_for(server, kafka, handler.lines, error_text, responds=lists_apis)
    has_new_groups = any(_HAS_NEW_GROUPS in line for line in handler.lines)
    return ServerFacts(took_s, has_new_groups if lists_apis else None)


def _raise_for(
    server: str, kafka: Mapping[str, Any], lines: Sequence[str], error_text: str, *, responds: bool
) -> None:
    """Translate librdkafka's state to a step. Returns if all that failed is the password, or
    another address, which the cluster advertises.
    """
    ends = [end.groups() for end in map(_CONNECTION_END.match, lines) if end is not None]
    # A name may have addresses that nothing listens at, beside the one that ``connect`` found.
    why, state = next((end for end in ends if "CONNECT" not in end[1]), (error_text, ""))
    if state == "SSL_HANDSHAKE":
        raise ServerFailure("certificate" if "verify failed" in why else "tls", why)
    if state == "APIVERSION_QUERY" and "imed out" not in why:
        if not is_tls(kafka) and _speaks_tls(server):
            raise ServerFailure("tls expected", why)
        raise ServerFailure("protocol", why)
    if state == "AUTH_HANDSHAKE":
        found = _OFFERED.search(why)
        offered = found[1] if found else ""
        if offered:
            raise ServerFailure("mechanism", f"it offers {offered}")
        raise ServerFailure("no login", why)
    if state == "UP":
        raise ServerFailure("protocol" if is_sasl(kafka) else "login expected", why)
    if not state.startswith("AUTH") and not (responds and not state):
        raise ServerFailure("silence", why)


def examine_server(server: str, kafka: Mapping[str, Any]) -> Iterator[Finding]:
    """All findings about one server that is named in the options. Blocks for seconds."""
    try:
        connect(server, kafka)
        facts = ask_server(server, kafka)
    except ServerFailure as failure:
        yield describe_failure(server, failure, kafka)
    except ConfigurationError:
        # kafka.login reports the setting, once.
        yield ok(_CHECK, server, "accepts connections; librdkafka refuses the settings")
    except OSError as error:
        yield _unusable_files(server, error)
    else:
        yield from describe_server(server, facts, kafka)


def _unusable_files(server: str, error: OSError) -> Finding:
    return problem(
        _CHECK,
        server,
        f"the TLS settings can't be used: {error.strerror or error}",
        "Check ssl.ca.location, ssl.certificate.location, ssl.key.location and ssl.key.password "
        "in kafka_config.",
    )


def describe_failure(server: str, failure: ServerFailure, kafka: Mapping[str, Any]) -> Finding:
    host, port = split_server(server)
    texts = {
        "host": host,
        "port": port,
        "mechanism": mechanism(kafka),
        "protocol": _protocol(kafka).upper(),
        "transport": "SSL" if is_tls(kafka) else "PLAINTEXT",
    }
    seen = f"{_SEEN[failure.step]}: {{why}}".format(**texts, why=failure)
    return problem(_CHECK, server, seen, (failure.fix or _FIXES[failure.step]).format(**texts))


def describe_server(server: str, facts: ServerFacts, kafka: Mapping[str, Any]) -> Iterator[Finding]:
    """A server that answers, and whether it has the groups that the settings ask for."""
    parts = ["answers" if facts.took_s is None else f"answers in {facts.took_s * 1000:,.0f} ms"]
    if is_tls(kafka):
        parts.append("TLS")
    if is_sasl(kafka):
        parts.append(f"SASL {mechanism(kafka)}")
    if facts.has_new_groups is not None:
        parts.append(f"KIP-848 groups: {'yes' if facts.has_new_groups else 'no'}")
    yield ok(_CHECK, server, ", ".join(parts))
    wants_new_groups = str(kafka.get("group.protocol", "classic")).lower() == "consumer"
    if wants_new_groups and facts.has_new_groups is False:
        yield problem(
            _CHECK,
            server,
            "group.protocol is consumer, but it does not support such groups (KIP-848)",
            "Remove group.protocol from kafka_config, or use Kafka 4.0 or newer.",
        )


def examine_advertised(
    client: Cluster, number: int, server: str, kafka: Mapping[str, Any]
) -> Iterator[Finding]:
    """A broker that others advertise: its address has to be reachable from here, too."""
    try:
        connect(server, kafka)
        # By the client that is logged in: one of its own would connect to all brokers once more.
        refusal = client.ask_broker(number)
        if refusal is not None:
            raise ServerFailure("silence", refusal.str())
    except ServerFailure as failure:
        found = describe_failure(server, failure, kafka)
        yield problem(
            found.check,
            found.subject,
            f"{found.seen} (the cluster advertises this address)",
            f"{found.fix}\nOr correct the broker's advertised.listeners.",
        )
    except OSError as error:
        yield _unusable_files(server, error)
    else:
        yield ok(_CHECK, server, "answers (the cluster advertises this address)")
