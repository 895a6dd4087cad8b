"""SIGHUP to a real ``consumer run``: its workers change too, also those that start later."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import orjson

from consumer_fleet.testing import KafkaCluster
from tests.support.consumer_process import ConsumerProcess
from tests.support.kafka_topics import KafkaTopics
from tests.support.scripted_receiver import ScriptedReceiver

GROUP = "consumer-fleet-envelopes"


def numbers(receiver: ScriptedReceiver) -> set[int]:
    return {orjson.loads(envelope.items[0].payload)["n"] for envelope in receiver.envelopes}


def test_sighup_reads_the_file_again(tmp_path: Path, upstream: ScriptedReceiver) -> None:
    config = tmp_path / "config.yml"
    with KafkaCluster() as cluster, ScriptedReceiver() as saas:
        given = f"saas_dsn: {saas.dsn()}\nworkers: 1\nstore_use_relay_dsn_sample_rate: "
        config.write_text(f"{given}0\n")
        kafka = KafkaTopics(cluster.bootstrap_servers)
        run = ConsumerProcess(
            tmp_path,
            *("--topic", "envelopes", "--config", str(config), "--no-dlq"),
            *("--bootstrap-servers", cluster.bootstrap_servers, "--upstream-dsn", upstream.dsn()),
        )
        with run:

            def deliver(*receivers: ScriptedReceiver, first: int) -> None:
                sent = range(first, first + 20)
                item = b'{}\n{"type":"client_report"}\n{"n":%d}\n'
                cluster.produce("envelopes", [item % n for n in sent])

                def have_arrived() -> bool:
                    return all(numbers(each) >= set(sent) for each in receivers)

                run.wait_until(have_arrived, "the messages")

            def first_are_committed() -> bool:
                offsets = kafka.committed(GROUP, "envelopes")
                return len(offsets) == 4 and min(offsets.values()) >= 5

            def hang_up(event: str, count: int) -> dict[str, object]:
                run.signal(signal.SIGHUP)
                found: dict[str, object] = run.wait_for(event, count)[-1]
                return found

            deliver(upstream, first=0)
            config.write_text(f"{given}1\n")
            changed = hang_up("configuration_reloaded", 1)
            assert changed["changed"] == ["store_use_relay_dsn_sample_rate"]
            deliver(upstream, saas, first=100)
            # Those that are not committed may be sent again, and to saas, too.
            run.wait_until(first_are_committed, "the commit of the first messages")
            # A worker that starts now has the rate of now, not that of the start.
            os.kill(run.worker_pids()[0], signal.SIGKILL)
            run.wait_for("worker_ready", 2)
            deliver(upstream, saas, first=200)
            config.write_text(f"{given}[\n")
            broken = hang_up("configuration_not_reloaded", 1)
            assert f"{config}:" in str(broken["error"])
            deliver(upstream, saas, first=300)
            config.write_text(f"{given}0\ngroup: another\n")
            assert hang_up("configuration_reloaded", 2)["needs_restart"] == ["group"]
            deliver(upstream, first=400)
            run.signal(signal.SIGTERM)
            assert run.wait() == 0
            assert {n // 100 for n in numbers(saas)} == {1, 2, 3}
