"""Three real brokers that are killed, and partitions that change their leader."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping

from tests.chaos.rows import row
from tests.chaos.stage import Stage, started
from tests.support.kafka_broker import KafkaBroker
from tests.support.kafka_topics import REQUEST_TIMEOUT_S, KafkaTopics
from tests.support.processes import free_ports, wait_until

_NODES = 3
_REPLICATED: Mapping[str, object] = {
    "default.replication.factor": _NODES,
    "min.insync.replicas": 2,
    "offsets.topic.replication.factor": _NODES,
    "transaction.state.log.replication.factor": _NODES,
    "leader.imbalance.check.interval.seconds": 5,
    # Three that start together on a busy machine.
    "initial.broker.registration.timeout.ms": 180_000,
}


class _Node(KafkaBroker):
    """One of the brokers, each of which is a controller, too."""

    def __init__(self, number: int, controller_ports: list[int], cluster_id: str) -> None:
        self._number = number
        self._controller_ports = controller_ports
        super().__init__(_REPLICATED, cluster_id=cluster_id)

    def _write_config(self, controller_port: int, settings: Mapping[str, object]) -> None:
        ports = dict(enumerate(self._controller_ports, 1))
        node = {
            "node.id": self._number,
            "controller.quorum.voters": ",".join(f"{n}@127.0.0.1:{ports[n]}" for n in ports),
        }
        super()._write_config(ports[self._number], {**settings, **node})


class Brokers(KafkaTopics):
    """A cluster of three, seen through all of its brokers."""

    replicas = _NODES

    def __init__(self) -> None:
        ports = free_ports(_NODES)
        cluster_id = str(uuid.uuid4())
        self.nodes = [_Node(number, ports, cluster_id) for number in range(1, _NODES + 1)]
        super().__init__(",".join(node.bootstrap_servers for node in self.nodes))

    def start(self) -> None:
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait_ready()

    def close(self) -> None:
        self.forget_clients()
        for node in self.nodes:
            node.close()

    def is_in_sync(self, topic: str) -> bool:
        """Whether each partition has all of its replicas in sync."""
        partitions = self.admin.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic]
        return all(len(each.isrs) == _NODES for each in partitions.partitions.values())


@row
def broker_kills(stage: Stage) -> None:
    """Brokers of three that are killed or stopped, and leaders that move, lose nothing.

    Bound: what was delivered and not committed when a member lost its partitions
    """
    brokers = stage.enter(started(Brokers()))
    stage.kafka = brokers
    count = stage.scaled(20_000)
    kills = stage.scaled(12, 2)
    stage.fill(6, count)
    stage.start("--kafka-config", "session.timeout.ms=10000", workers=2)
    with stage.feeding(count, 300):
        for number in range(kills):
            wait_until(
                lambda: brokers.is_in_sync(stage.topic),
                timeout_s=60,
                what="all replicas to be in sync",
            )
            stage.wait_for_accepted(count + count * number // (kills + 1))
            _stop_one(stage, brokers)
    stage.finish(240)


def _stop_one(stage: Stage, brokers: Brokers) -> None:
    """Stop a broker for a moment. It may lead partitions, the group, the cluster, or all three."""
    node = stage.chance.choice(brokers.nodes)
    kill = stage.chance.random() < 0.6
    with stage.interrupting():
        node.stop(kill=kill)
        stage.faults["broker SIGKILL" if kill else "broker SIGTERM"] += 1
        time.sleep(stage.chance.uniform(0, 4))
        # Within 5 s, leaders move once more: back to the broker that is preferred as a leader.
        node.start()
