"""``consumer doctor``: its probes against servers on loopback that misbehave in every way."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import pytest

from consumer_fleet.bootstrap.destinations import capture_options
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.doctor.configuration_checks import examine_services, examine_snuba
from consumer_fleet.doctor.destination_checks import examine_destination
from consumer_fleet.doctor.finding import Finding
from consumer_fleet.doctor.server_checks import ServerFailure, connect, examine_server
from consumer_fleet.kafka.mock_cluster import MockCluster
from tests.support.certificate import server_context
from tests.support.processes import free_ports
from tests.support.scripted_receiver import Reply, ScriptedReceiver

KEY = "hunter2verysecret"
_LONG_AGO = f"Date: {formatdate(1_000_000_000, usegmt=True)}\r\n"


def options(**given: object) -> Options:
    return resolve_options(OptionsRequest(given), {}).options


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second report without a delay, and no proxy of this machine."""
    monkeypatch.setattr("consumer_fleet.doctor.destination_checks._SECOND_REPORT_DELAY_S", 0.0)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def be_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what ends in a timeout."""
    monkeypatch.setattr("consumer_fleet.doctor.destination_checks._REQUEST_TIMEOUT_S", 2.0)
    monkeypatch.setattr("consumer_fleet.doctor.server_checks._STEP_TIMEOUT_S", 2.0)


# Destinations


def examined(dsn: str, **given: object) -> dict[str, Finding]:
    (destination,) = capture_options(options(saas_dsn=dsn, **given)).destinations
    found = list(examine_destination(destination))
    assert KEY not in str(found)
    return {finding.check: finding for finding in found}


def test_a_destination_is_sent_two_reports_as_a_worker_would_send_them() -> None:
    with ScriptedReceiver() as receiver:
        found = examined(receiver.dsn(key=KEY), saas_compression="zstd")
        assert {finding.status for finding in found.values()} == {"ok"}
        assert len(receiver.requests) == 2
        for request in receiver.requests:
            assert request.path == "/api/1/envelope/"
            assert request.headers["content-encoding"] == "zstd"
            assert f"sentry_key={KEY}" in request.headers["x-sentry-auth"]
            (item,) = request.envelope.items
            assert item.type == "client_report"


@pytest.mark.parametrize("status", [301, 401, 403, 404, 413, 429, 503])
def test_an_answer_that_is_not_an_acceptance_is_reported_after_one_report(status: int) -> None:
    with ScriptedReceiver() as receiver:
        receiver.respond(Reply(status, body=f"no {KEY} here".encode()))
        finding = examined(receiver.dsn(key=KEY))["destination.answer"]
        assert finding.status == ("warning" if status == 429 else "problem")
        assert f"answers {status}" in finding.seen
        assert len(receiver.requests) == 1


def test_a_server_that_refuses_the_second_report_is_not_fine() -> None:
    with ScriptedReceiver() as receiver:
        receiver.respond_in_turn(200, 403)
        assert examined(receiver.dsn())["destination.answer"].status == "problem"


def test_a_redirect_is_not_followed() -> None:
    with ScriptedReceiver() as receiver:
        receiver.respond(Reply(302, {"Location": receiver.dsn() + "/elsewhere"}))
        examined(receiver.dsn())
        assert {request.path for request in receiver.requests} == {"/api/1/envelope/"}


def test_a_server_whose_clock_is_wrong_is_reported() -> None:
    with ScriptedReceiver() as receiver:
        receiver.respond(Reply(200))
        assert examined(receiver.dsn())["destination.clock"].status == "ok"
    with dated_server(_LONG_AGO) as dsn:
        assert examined(dsn)["destination.clock"].status == "problem"
    with dated_server("", before=f"HTTP/1.1 103 Early Hints\r\n{_LONG_AGO}\r\n") as dsn:
        assert "destination.clock" not in examined(dsn), "that was not the server's answer"
    with dated_server(f"Date: Thu, 01 Jan 2026 00:00:00 +{'9' * 20}\r\n") as dsn:
        assert "destination.clock" not in examined(dsn), "that is no date"


def test_a_server_that_hangs_or_hangs_up_is_reported_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ScriptedReceiver() as receiver:
        receiver.respond(Reply(hang_up=True))
        seen = examined(receiver.dsn())["destination.reach"].seen
        assert "accepted the connection but did not answer" in seen
        be_impatient(monkeypatch)
        receiver.respond(Reply(delay_s=30))
        seen = examined(receiver.dsn())["destination.reach"].seen
        assert "accepted the connection but did not answer" in seen


def test_a_port_that_nobody_listens_on_and_a_name_that_nobody_has_are_distinguished() -> None:
    (port,) = free_ports(1)
    finding = examined(f"http://{KEY}@127.0.0.1:{port}/1")["destination.reach"]
    assert "unreachable" in finding.seen
    finding = examined(f"http://{KEY}@nobody.invalid/1")["destination.reach"]
    assert "nobody.invalid does not resolve" in finding.seen


def test_an_unknown_certificate_is_reported_and_a_known_one_is_dated(certificate: Path) -> None:
    with ScriptedReceiver(server_context(certificate)) as receiver:
        finding = examined(receiver.dsn())["destination.reach"]
        assert "its certificate is not trusted" in finding.seen
        assert f"-connect 127.0.0.1:{receiver.port}" in finding.fix
        assert receiver.requests == []
        finding = examined(receiver.dsn(), ca_file=certificate)["destination.tls"]
        assert finding.status == "warning"
        assert "expires in 3 days" in finding.seen


def test_tls_at_a_port_without_tls_is_reported() -> None:
    with ScriptedReceiver() as receiver:
        finding = examined(receiver.dsn().replace("http://", "https://"))["destination.reach"]
        assert "TLS fails" in finding.seen
        assert "must start with http://" in finding.fix


# Kafka servers


def server_finding(server: str, **kafka: str) -> Finding:
    settings = {name.replace("_", "."): value for name, value in kafka.items()}
    (finding,) = examine_server(server, settings)
    return finding


def test_a_broker_that_answers_is_fine_without_a_login() -> None:
    with MockCluster() as cluster:
        finding = server_finding(cluster.bootstrap_servers)
    assert finding.status == "ok", finding
    assert "KIP-848 groups:" in finding.seen


def failed_step(server: str, **kafka: str) -> str:
    settings = {name.replace("_", "."): value for name, value in kafka.items()}
    with pytest.raises(ServerFailure) as caught:
        connect(server, settings)
    return caught.value.step


def test_the_steps_before_the_protocol_are_distinguished() -> None:
    (port,) = free_ports(1)
    assert failed_step("nobody.invalid:9092") == "name"
    assert failed_step(f"127.0.0.1:{port}") == "connection"
    for impossible in ("kafka..example:9092", f"127.0.0.1:{'9' * 30}"):
        assert failed_step(impossible) == "name"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "does not answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak Kafka"),
        (b"\x00\x00\x00\x06\x00\x00\x00\x00\x00\x23", "does not speak Kafka"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "does not speak Kafka"),
    ],
    ids=["silence", "http", "error", "alert"],
)
def test_a_server_that_is_not_kafka_is_reported(
    answer: bytes, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_impatient(monkeypatch)
    with raw_server(answer) as server:
        finding = server_finding(server)
    assert finding.status == "problem"
    assert says in finding.seen


def test_tls_with_an_unknown_certificate_is_reported_and_with_a_known_one_goes_on(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with raw_server(b"", server_context(certificate)) as server:
        untrusted = server_finding(server, security_protocol="ssl")
        assert "its certificate is not trusted" in untrusted.seen
        assert "ssl.ca.location" in untrusted.fix
        connect(
            server,
            {"security.protocol": "ssl", "enable.ssl.certificate.verification": "false"},
        )
        be_impatient(monkeypatch)
        trusted = server_finding(server, security_protocol="ssl", ssl_ca_location=str(certificate))
        assert "does not answer" in trusted.seen


def test_a_certificate_for_another_name_is_distinguished_from_an_unknown_one(
    certificate: Path,
) -> None:
    with raw_server(b"", server_context(certificate)) as server:
        other_name = f"127.0.0.2:{server.rpartition(':')[2]}"
        finding = server_finding(
            other_name, security_protocol="ssl", ssl_ca_location=str(certificate)
        )
    assert finding.status == "problem"
    assert "its certificate is not trusted: IP address mismatch" in finding.seen
    assert "ssl.ca.location" not in finding.fix


def test_a_key_store_that_only_librdkafka_can_open_is_not_a_failure_of_the_handshake(
    certificate: Path,
) -> None:
    demanding = server_context(certificate)
    demanding.load_verify_locations(certificate)
    demanding.verify_mode = ssl.CERT_REQUIRED
    demanding.maximum_version = ssl.TLSVersion.TLSv1_2
    trusting = {"security.protocol": "ssl", "ssl.ca.location": str(certificate)}
    with raw_server(b"", demanding) as server:
        with pytest.raises(ServerFailure) as caught:
            connect(server, trusting)
        assert caught.value.step == "tls"
        connect(server, {**trusting, "ssl.keystore.location": "client.p12"})


def test_a_folder_of_authorities_is_read_as_such(certificate: Path, tmp_path: Path) -> None:
    with raw_server(b"", server_context(certificate)) as server:
        step = failed_step(server, security_protocol="ssl", ssl_ca_location=str(tmp_path))
    assert step == "certificate"


def test_tls_at_a_broker_without_tls_is_reported() -> None:
    with raw_server(b"nonsense that is not TLS") as server:
        finding = server_finding(server, security_protocol="sasl_ssl")
    assert "TLS fails" in finding.seen
    assert "SASL_PLAINTEXT" in finding.fix


def test_a_port_that_expects_tls_is_reported(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_impatient(monkeypatch)
    with raw_server(b"", server_context(certificate)) as server:
        finding = server_finding(server)
    assert "it expects TLS, and security.protocol is PLAINTEXT" in finding.seen
    assert "security.protocol in kafka_config to SSL" in finding.fix


def test_a_file_of_the_tls_settings_that_can_t_be_used_is_reported() -> None:
    finding = server_finding(
        "127.0.0.1:9", security_protocol="ssl", ssl_ca_location="/nonexistent/ca.pem"
    )
    assert "No such file or directory" in finding.seen
    assert "ssl.ca.location" in finding.fix


# Services


def service_finding(**given: object) -> Finding:
    (finding,) = examine_services(options(**given))
    return finding


def test_an_agent_that_listens_is_not_refused_and_one_that_does_not_is() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        agent.bind(("127.0.0.1", 0))
        port = agent.getsockname()[1]
        finding = service_finding(statsd_host="127.0.0.1", statsd_port=port)
        assert finding.status == "ok"
        assert agent.recv(100) == b"", "nothing is measured"
    finding = service_finding(statsd_host="127.0.0.1", statsd_port=port)
    assert finding.status == "warning"
    assert "nothing listens there" in finding.seen


def test_a_socket_that_nobody_reads_is_a_warning_and_a_missing_one_a_problem(
    tmp_path: Path,
) -> None:
    path = tmp_path / "statsd.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as agent:
        agent.bind(str(path))
        assert service_finding(statsd_socket_path=path).status == "ok"
    assert service_finding(statsd_socket_path=path).status == "warning"
    path.unlink()
    finding = service_finding(statsd_socket_path=path)
    assert finding.status == "problem"
    assert f"there is no socket at {path}" in finding.seen


def test_the_folder_of_the_health_file_has_to_be_there(tmp_path: Path) -> None:
    assert service_finding(healthcheck_file=tmp_path / "health").status == "ok"
    assert not (tmp_path / "health").exists()
    finding = service_finding(healthcheck_file=tmp_path / "nowhere" / "health")
    assert finding.status == "problem"
    assert "does not exist" in finding.seen


def test_snuba_is_asked_for_its_health() -> None:
    with ScriptedReceiver() as snuba:
        url = f"http://127.0.0.1:{snuba.port}"
        (finding,) = examine_snuba(options(snuba_url=url))
        assert finding.status == "ok"
        snuba.respond(503)
        (finding,) = examine_snuba(options(snuba_url=url))
        assert finding.status == "problem"
        assert "503" in finding.seen
        (finding,) = examine_snuba(options(snuba_url=url, skip_service_validation=True))
        assert finding.status == "warning"
        assert [request.path for request in snuba.requests] == ["/health"] * 3


@contextmanager
def raw_server(answer: bytes, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Takes each connection, reads something, says this, and hangs up; silent if it is empty."""

    def serve(connection: socket.socket) -> None:
        connection.settimeout(5)
        try:
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            connection.recv(1000)
            connection.sendall(answer)
            if not answer:
                connection.recv(1000)  # until the other side gives up
        except OSError:
            pass
        connection.close()

    with listening(serve) as port:
        yield f"127.0.0.1:{port}"


@contextmanager
def dated_server(date: str, before: str = "") -> Iterator[str]:
    """A destination with that Date, which says something ``before`` its answer."""
    head = f"{before}HTTP/1.1 200 OK\r\n{date}Content-Length: 2\r\n\r\n"
    answer = head.encode() + b"{}"

    def serve(connection: socket.socket) -> None:
        connection.recv(100_000)
        connection.sendall(answer)
        connection.close()

    with listening(serve) as port:
        yield f"http://{KEY}@127.0.0.1:{port}/1"


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    with socket.create_server(("", 0)) as listener:
        listener.settimeout(0.05)
        stopping = threading.Event()

        def run() -> None:
            while not stopping.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                serve(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stopping.set()
            thread.join(10)
