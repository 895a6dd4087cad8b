"""Can each Kafka server be reached, and is it spoken to in the way that it expects?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from consumers.doctor.finding import Finding, ok, problem
from consumers.doctor.server_probe import (
    ServerAnswers,
    Step,
    is_sasl,
    is_tls,
    mechanism,
    probe_server,
    split_server,
)

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
