"""Networks that are cut, slow or silent, by toxiproxy."""

from __future__ import annotations

import time
from collections.abc import Mapping

from tests.chaos.rows import row, waiting_row
from tests.chaos.stage import CONNECTIONS, Stage, started
from tests.chaos.toxiproxy import Proxy, Toxiproxy
from tests.support.kafka_broker import KafkaBroker
from tests.support.processes import free_ports

_WORKERS = 2
_SESSION = ("--kafka-config", "session.timeout.ms=6000,heartbeat.interval.ms=500")


class ProxiedBroker(KafkaBroker):
    """A broker with one more listener, ``inner_port``, which clients reach at ``outer_port``."""

    def __init__(self) -> None:
        self.inner_port, self.outer_port = free_ports(2)
        super().__init__()

    def _write_config(self, controller_port: int, settings: Mapping[str, object]) -> None:
        direct = f"PLAINTEXT://{self.bootstrap_servers}"
        proxied = {
            "listeners": f"{direct},PROXIED://127.0.0.1:{self.inner_port},"
            f"CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"{direct},PROXIED://127.0.0.1:{self.outer_port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,"
            "CONTROLLER:PLAINTEXT",
        }
        super()._write_config(controller_port, {**proxied, **settings})


@waiting_row
def kafka_cuts(stage: Stage) -> None:
    """A network to Kafka that is cut again and again loses nothing.

    Most cuts are shorter than the group's session; every tenth is longer.

    Bound: what was delivered and not committed when a member lost its partitions
    """
    proxy = _proxied_kafka(stage)
    count = stage.scaled(15_000)
    cuts = stage.scaled(20, 3)
    stage.fill(4, count)
    stage.start(*_SESSION, workers=_WORKERS, servers=f"127.0.0.1:{proxy.port}")
    with stage.feeding(count, 500):
        for number in range(cuts):
            stage.wait_for_accepted(count + count * number // (cuts + 1))
            with stage.interrupting():
                proxy.cut()
                stage.faults["cuts"] += 1
                time.sleep(9 if number % 10 == 1 else stage.chance.uniform(0.1, 2.5))
                proxy.restore()
    stage.finish()


@waiting_row
def kafka_far_away(stage: Stage) -> None:
    """A Kafka that is slow, far away and sends its answers in pieces loses and repeats nothing.

    Bound: 0
    """
    proxy = _proxied_kafka(stage)
    proxy.add("latency", latency=200, jitter=150)
    proxy.add("slicer", average_size=500, size_variation=400, delay=100)
    stage.faults["toxics"] += 2
    stage.fill(4, stage.scaled(20_000))
    stage.start(workers=_WORKERS, servers=f"127.0.0.1:{proxy.port}")
    stage.finish(240)


@row
def destination_cuts(stage: Stage) -> None:
    """A network to the destination that is cut again and again loses nothing.

    Bound: 32 requests on the wire of each cut
    """
    proxy = _proxied_destination(stage)
    cuts = stage.scaled(30, 3)
    stage.fill(4, stage.scaled(60_000))
    stage.start(workers=_WORKERS)
    for moment in stage.moments(cuts):
        stage.wait_for_accepted(moment)
        proxy.cut()
        stage.faults["cuts"] += 1
        time.sleep(stage.chance.uniform(0, 0.5))
        proxy.restore()
    stage.finish()
    stage.bound = cuts * _WORKERS * CONNECTIONS


@waiting_row
def destination_silent(stage: Stage) -> None:
    """A network that swallows all answers for a while loses nothing.

    Bound: 128 requests for each such time: those on the wire, and probes
    """
    proxy = _proxied_destination(stage)
    times = stage.scaled(6, 1)
    stage.arguments += ("--set", "request_timeout_s=2", "--set", "connect_timeout_s=2")
    stage.fill(4, stage.scaled(20_000))
    stage.start(workers=_WORKERS)
    for moment in stage.moments(times):
        stage.wait_for_accepted(moment)
        proxy.add("timeout", timeout=0)
        stage.faults["silences"] += 1
        time.sleep(stage.chance.uniform(1, 6))
        proxy.remove("timeout")
    stage.finish()
    # A request that is never answered is sent again after its 2 s, by each worker's probes, too.
    stage.bound = times * _WORKERS * CONNECTIONS * 4


@waiting_row
def destination_far_away(stage: Stage) -> None:
    """A destination that is slow, far away and answers in pieces gets each message once.

    Bound: 0
    """
    proxy = _proxied_destination(stage)
    proxy.add("latency", latency=100, jitter=80)
    proxy.add("slicer", average_size=20, size_variation=10, delay=1000)
    stage.faults["toxics"] += 2
    stage.fill(4, stage.scaled(4000))
    stage.start(workers=_WORKERS)
    stage.finish()


def _proxied_kafka(stage: Stage) -> Proxy:
    toxiproxy = stage.enter(Toxiproxy(stage.folder))
    broker = stage.enter(started(ProxiedBroker()))
    stage.kafka = broker
    return toxiproxy.proxy(broker.inner_port, broker.outer_port)


def _proxied_destination(stage: Stage) -> Proxy:
    proxy = stage.enter(Toxiproxy(stage.folder)).proxy(stage.upstream.port)
    stage.upstream.port = proxy.port
    return proxy
