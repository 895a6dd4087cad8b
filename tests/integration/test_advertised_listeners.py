"""Brokers that advertise an address which can't be reached from here are named as that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from confluent_kafka import KafkaError

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.bootstrap.resolve import OptionsRequest
from consumer_fleet.command_options import resolve_cluster
from consumer_fleet.doctor.command import TIMEOUT_S, examine
from consumer_fleet.kafka import cluster as cluster_module
from consumer_fleet.kafka.cluster import Cluster
from tests.support.consumer_process import ConsumerProcess, run_command
from tests.support.kafka_broker import KafkaBroker, running_broker
from tests.support.processes import free_ports, wait_until
from tests.support.scripted_receiver import ScriptedReceiver


@pytest.fixture(scope="module")
def advertised() -> str:
    """An address that nothing listens at."""
    return f"127.0.0.1:{free_ports(1)[0]}"


@pytest.fixture(scope="module")
def kafka(advertised: str) -> Iterator[KafkaBroker]:
    with running_broker({"advertised.listeners": f"PLAINTEXT://{advertised}"}) as broker:
        yield broker


def consumer(
    kafka: KafkaBroker, upstream: ScriptedReceiver, folder: Path, *arguments: str
) -> ConsumerProcess:
    return ConsumerProcess(
        folder,
        *("--topic", "events", "--workers", "1", "--upstream-dsn", upstream.dsn()),
        *("--bootstrap-servers", kafka.bootstrap_servers, *arguments),
    )


def test_a_run_names_the_advertised_address_within_seconds_and_keeps_waiting(
    kafka: KafkaBroker, advertised: str, upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    with consumer(kafka, upstream, tmp_path) as running:
        first, *_ = running.wait_for("kafka_unreachable", timeout_s=30)
        assert advertised in first["reason"]
        assert "advertised.listeners" in first["reason"]
        assert "Connection refused" in first["reason"]
        running.wait_for("kafka_unreachable", 2, timeout_s=30)


def test_a_run_to_the_end_ends_with_69_and_names_the_advertised_address(
    kafka: KafkaBroker, advertised: str, upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    with consumer(kafka, upstream, tmp_path, "--stop-at-end") as running:
        assert running.wait(40) == 69
        assert f"the cluster advertises {advertised}" in running.output()


def test_an_address_is_named_although_librdkafka_has_given_up_the_one_that_answered(
    kafka: KafkaBroker, advertised: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "_METADATA_TIMEOUT_S", 0.5)
    errors: list[KafkaError] = []
    # Without this setting it takes the address of bootstrap.servers again, at some time.
    settings = {"metadata.recovery.strategy": "none"}
    cluster = Cluster({"bootstrap.servers": kafka.bootstrap_servers, **settings}, errors.append)
    wait_until(
        lambda: cluster.admin.poll(0.1) > 0 and any(advertised in each.str() for each in errors),
        timeout_s=20,
        what="the failure of the advertised address",
    )
    assert cluster.connect() is None
    assert cluster.brokers == {1: advertised}
    reason = cluster.advertised_failure()
    assert reason is not None
    assert f"the cluster advertises {advertised}, where no broker responds" in reason
    assert "Connection refused" in reason


def test_a_doctor_names_the_advertised_address_and_asks_nothing_behind_it(
    kafka: KafkaBroker, advertised: str
) -> None:
    options = {"topic": "events", "bootstrap_servers": kafka.bootstrap_servers}
    cluster: ClusterOptions = resolve_cluster(OptionsRequest(options))
    started = monotonic()
    found = [each for each in examine(cluster, ()) if each.check.startswith(("kafka.", "topic."))]
    assert monotonic() - started < TIMEOUT_S + 5
    statuses = {(each.check, each.subject): each.status for each in found}
    assert statuses["kafka.server", kafka.bootstrap_servers] == "ok"
    assert statuses["kafka.server", advertised] == "problem"
    (named,) = [
        each
        for each in found
        if "the cluster advertises" in each.seen and each.check == "kafka.cluster"
    ]
    assert named.status == "problem"
    assert "advertised.listeners" in named.seen
    assert not [each for each in found if each.check.startswith("topic.")]


@pytest.mark.parametrize("command", [("status",), ("offsets", "show")])
def test_a_command_names_the_advertised_address(
    kafka: KafkaBroker, advertised: str, tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = run_command(
        *(*command, "--topic", "events", "--bootstrap-servers", kafka.bootstrap_servers),
        cwd=tmp_path,
    )
    assert done.returncode == 69
    assert f"at {advertised}, which the cluster advertises: Connect" in done.stderr
