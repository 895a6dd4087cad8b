"""A Kafka broker with users, ACLs and TLS, and a listener without them for the test's set-up.

Clients of ``bootstrap_servers`` may do everything. ``sasl_servers`` requires a login as one of
``USERS`` (PLAIN), who may do what ACLs grant. ``tls_servers`` uses TLS with a self-signed
certificate.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from tests.support.certificate import key_of, make_certificate
from tests.support.kafka_broker import KafkaBroker
from tests.support.kafka_topics import REQUEST_TIMEOUT_S
from tests.support.processes import wait_until

USERS: Mapping[str, str] = {"alice": "alices-secret", "bob": "bobs-secret"}
_LOGIN_MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule"


class SecuredKafkaBroker(KafkaBroker):
    """A broker with three listeners; it takes a second longer to start."""

    needs_ports = 2

    def __init__(self, folder: Path) -> None:
        """Raises MissingPart without Java, jars or openssl."""
        self.certificate = folder / "broker.crt"
        make_certificate(self.certificate)
        both = key_of(self.certificate).read_text() + self.certificate.read_text()
        self.certificate.with_suffix(".pem").write_text(both)
        super().__init__(folder=folder)

    @property
    def sasl_servers(self) -> str:
        return f"127.0.0.1:{self.more_ports[0]}"

    @property
    def tls_servers(self) -> str:
        return f"127.0.0.1:{self.more_ports[1]}"

    def login(self, user: str, password: str | None = None) -> dict[str, str]:
        """Return the librdkafka settings of a user, with a wrong password if one is given."""
        return {
            "security.protocol": "sasl_plaintext",
            "sasl.mechanism": "PLAIN",
            "sasl.username": user,
            "sasl.password": USERS[user] if password is None else password,
        }

    def grant(self, user: str, operation: str, kind: str, name: str) -> None:
        """Allow a user an operation on a ``topic`` or a ``group``."""
        facts = (
            ResourceType[kind.upper()],
            name,
            ResourcePatternType.LITERAL,
            f"User:{user}",
            "*",
            AclOperation[operation],
            AclPermissionType.ALLOW,
        )
        for answer in self.admin.create_acls([AclBinding(*facts)]).values():
            answer.result(REQUEST_TIMEOUT_S)
        asked = AclBindingFilter(*facts)
        # The controller answers a creation; the broker answers a description, and learns later.
        wait_until(
            lambda: bool(self.admin.describe_acls(asked).result(REQUEST_TIMEOUT_S)),
            timeout_s=REQUEST_TIMEOUT_S,
            what=f"the broker to know that {user} may {operation} {kind} {name}",
        )

    def _write_config(self, controller_port: int, settings: Mapping[str, object]) -> None:
        inside = f"PLAINTEXT://{self.bootstrap_servers}"
        outside = f"SASL://{self.sasl_servers},TLS://{self.tls_servers}"
        users = " ".join(f'user_{name}="{password}"' for name, password in USERS.items())
        security = {
            "listeners": f"{inside},{outside},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"{inside},{outside}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL,"
            "CONTROLLER:PLAINTEXT",
            "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl.plain.sasl.jaas.config": f"{_LOGIN_MODULE} required {users};",
            "listener.name.tls.ssl.keystore.type": "PEM",
            "listener.name.tls.ssl.keystore.location": self.certificate.with_suffix(".pem"),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # A client that asks about a topic in the wrong way creates it.
            "auto.create.topics.enable": "true",
            # The tests and the broker itself need no login.
            "super.users": "User:ANONYMOUS",
        }
        super()._write_config(controller_port, {**security, **settings})
