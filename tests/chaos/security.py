"""Secured connections: certificates, passwords and tokens that change or expire."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka.admin import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.chaos.rows import waiting_row
from tests.chaos.stage import CONNECTIONS, Stage, started
from tests.support.certificate import (
    key_of,
    make_certificate,
    make_expired_certificate,
    server_context,
)
from tests.support.kafka_broker import KafkaBroker
from tests.support.kafka_topics import REQUEST_TIMEOUT_S
from tests.support.processes import free_ports

_SCRAM_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"
_TOKEN_MODULE = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
_USER, _PASSWORD = "alice", "alices-secret"
_REAUTHENTICATION_MS = 4000


class FortifiedBroker(KafkaBroker):
    """A broker with listeners for client certificates, for passwords (SCRAM) and for tokens.

    The oracle's clients use the open one. All certificates are self-signed.
    """

    def __init__(self, folder: Path) -> None:
        names = ("mutual", "scram", "token")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.certificate, self.client_certificate = folder / "broker.crt", folder / "client.crt"
        for certificate in (self.certificate, self.client_certificate):
            make_certificate(certificate)
        self._keystore = folder / "keystore.pem"
        self._write_keystore(self.certificate)
        super().__init__()

    def servers(self, listener: str) -> str:
        return f"127.0.0.1:{self.ports[listener]}"

    def serve_certificate(self, certificate: Path) -> None:
        """Restart with another certificate."""
        self.stop()
        self._write_keystore(certificate)
        self.start()

    def _write_keystore(self, certificate: Path) -> None:
        self._keystore.write_text(key_of(certificate).read_text() + certificate.read_text())

    def set_password(self, password: str) -> None:
        """Set the user's password; logins that exist stay."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(_USER, info, password.encode())
        futures = self.admin.alter_user_scram_credentials([change])
        futures[_USER].result(REQUEST_TIMEOUT_S)

    def _write_config(self, controller_port: int, settings: Mapping[str, object]) -> None:
        inside = f"PLAINTEXT://{self.bootstrap_servers}"
        outside = ",".join(f"{name.upper()}://{self.servers(name)}" for name in self.ports)
        security = {
            "listeners": f"{inside},{outside},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"{inside},{outside}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "MUTUAL:SSL,SCRAM:SASL_SSL,TOKEN:SASL_PLAINTEXT",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self._keystore,
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.truststore.type": "PEM",
            "listener.name.mutual.ssl.truststore.location": self.client_certificate,
            "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.scram.scram-sha-512.sasl.jaas.config": f"{_SCRAM_MODULE} required;",
            "listener.name.token.sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.token.oauthbearer.sasl.jaas.config": f"{_TOKEN_MODULE} required;",
            "listener.name.token.oauthbearer.connections.max.reauth.ms": _REAUTHENTICATION_MS,
        }
        super()._write_config(controller_port, {**security, **settings})


@waiting_row
def kafka_mutual_tls(stage: Stage) -> None:
    """With client certificates, a consumer that is killed and a broker that restarts lose nothing.

    Bound: what was delivered and not committed at the kill, and at the restart if partitions move
    """
    broker = _fortified(stage)
    _configure(
        stage,
        {
            "security.protocol": "ssl",
            "ssl.ca.location": str(broker.certificate),
            "ssl.certificate.location": str(broker.client_certificate),
            "ssl.key.location": str(key_of(broker.client_certificate)),
            "session.timeout.ms": "6000",
        },
    )
    stage.fill(4, stage.scaled(20_000))
    stage.start(workers=2, servers=broker.servers("mutual"))
    stage.wait_for_accepted(stage.ledger.messages // 3)
    stage.kill(stage.members[0])
    stage.start(workers=2, servers=broker.servers("mutual"))
    stage.wait_for_accepted(stage.ledger.messages * 2 // 3)
    # A broker that needs longer than the session to come back costs the member its partitions.
    with stage.interrupting():
        broker.stop(kill=True)
        stage.faults["broker SIGKILL"] += 1
        broker.start()
    stage.finish()


@waiting_row
def kafka_password_changed(stage: Stage) -> None:
    """A password (SCRAM) that becomes wrong ends the run with 78; the next run loses nothing.

    Bound: 0
    """
    broker = _fortified(stage)
    broker.set_password(_PASSWORD)
    _configure(
        stage,
        {
            "security.protocol": "sasl_ssl",
            "ssl.ca.location": str(broker.certificate),
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": _USER,
            "sasl.password": _PASSWORD,
            "session.timeout.ms": "6000",
        },
    )
    count = stage.scaled(20_000)
    stage.fill(4, count)
    consumer = stage.start(workers=2, servers=broker.servers("scram"))
    stage.wait_for_commit()
    broker.set_password("another")
    broker.stop()
    broker.start()
    stage.faults["password changed"] += 1
    stage.produce(count)
    stage.wait_for_end(consumer, 78)
    if stage.upstream.distinct != count:
        stage.judge.problems.append("a consumer read without a valid password")
    broker.set_password(_PASSWORD)
    stage.start(workers=2, servers=broker.servers("scram"))
    stage.finish()


@waiting_row
def kafka_tokens_expire(stage: Stage) -> None:
    """Tokens (OAUTHBEARER) that live for a few seconds are renewed; nothing is lost or repeated.

    Bound: 0
    """
    broker = _fortified(stage)
    _configure(
        stage,
        {
            "security.protocol": "sasl_plaintext",
            "sasl.mechanism": "OAUTHBEARER",
            "enable.sasl.oauthbearer.unsecure.jwt": "true",
            "sasl.oauthbearer.config": f"principal={_USER} lifeSeconds=5",
        },
    )
    seconds = stage.scaled(40, 12)
    stage.fill(4, 1000)
    stage.start(workers=2, servers=broker.servers("token"))
    with stage.feeding(200 * seconds, 200):
        stage.wait_for_accepted(1000)
    stage.faults["tokens expired"] += seconds // 5
    stage.finish()


@waiting_row
def kafka_certificate_expired(stage: Stage) -> None:
    """A broker whose certificate has expired is named; once it is replaced, delivery goes on.

    Bound: 0
    """
    broker = _fortified(stage)
    expired, trusted = stage.folder / "expired.crt", stage.folder / "trusted.pem"
    make_expired_certificate(expired)
    trusted.write_text(broker.certificate.read_text() + expired.read_text())
    _configure(
        stage,
        {
            "security.protocol": "ssl",
            "ssl.ca.location": str(trusted),
            "ssl.certificate.location": str(broker.client_certificate),
            "ssl.key.location": str(key_of(broker.client_certificate)),
        },
    )
    count = stage.scaled(20_000)
    stage.fill(4, count)
    consumer = stage.start(workers=2, servers=broker.servers("mutual"))
    stage.wait_for_commit()
    broker.serve_certificate(expired)
    stage.faults["certificate expired"] += 1
    stage.produce(count)
    consumer.wait_until(lambda: "certificate verify failed" in consumer.output(), "the reason")
    time.sleep(stage.scaled(20, 2))
    if stage.upstream.distinct != count:
        stage.judge.problems.append("a consumer read from a broker with an expired certificate")
    broker.serve_certificate(broker.certificate)
    stage.finish()


@waiting_row
def destination_certificate_expired(stage: Stage) -> None:
    """A destination whose certificate expires holds everything back until it is replaced.

    Bound: 32 requests on the wire, each of the two times that connections end
    """
    valid, expired = stage.folder / "valid.crt", stage.folder / "expired.crt"
    make_certificate(valid)
    make_expired_certificate(expired)
    trusted = stage.folder / "trusted.pem"
    trusted.write_text(valid.read_text() + expired.read_text())
    stage.upstream.secure(server_context(valid))
    stage.arguments += ("--set", f"ca_file={trusted}", "--set", "upstream_compression=none")
    stage.fill(4, stage.scaled(20_000))
    consumer = stage.start(workers=2)
    stage.wait_for_accepted(stage.ledger.messages // 3)
    stage.upstream.secure(server_context(expired))
    stage.faults["certificate expired"] += 1
    consumer.wait_for("destination_backing_off")
    known = stage.upstream.distinct
    time.sleep(stage.scaled(20, 2))
    if stage.upstream.distinct != known:
        stage.judge.problems.append("a destination with an expired certificate got messages")
    stage.upstream.secure(server_context(valid))
    stage.finish()
    stage.bound = 2 * 2 * CONNECTIONS


def _fortified(stage: Stage) -> FortifiedBroker:
    broker = stage.enter(started(FortifiedBroker(stage.folder)))
    stage.kafka = broker
    return broker


def _configure(stage: Stage, settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        stage.arguments += ("--kafka-config", f"{name}={value}")
