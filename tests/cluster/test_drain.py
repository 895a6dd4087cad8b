"""Draining a node under load: the budget holds, and nothing is lost."""

from __future__ import annotations

import threading

from tests.cluster.cluster import Cluster
from tests.cluster.conftest import Figure
from tests.cluster.release import is_ready
from tests.cluster.scene import CONSUMER, Scene

_PARTITIONS = 4


class _Drain:
    """``kubectl drain`` in a thread, which retries until the budget allows it."""

    def __init__(self, cluster: Cluster, node: str) -> None:
        self._cluster = cluster
        self._node = node
        self._thread = threading.Thread(target=self._work, name=f"drain of {node}")
        self.output = ""
        self.exit_code: int | None = None
        self._thread.start()

    def _work(self) -> None:
        run = self._cluster.try_kubectl(
            "drain", self._node, "--delete-emptydir-data", "--timeout=120s"
        )
        self.output = run.stdout + run.stderr
        self.exit_code = run.returncode

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()


def test_a_drain_respects_the_disruption_budget_and_loses_nothing(
    scene: Scene, figure: Figure
) -> None:
    cluster = scene.cluster
    left, other = (node.name for node in cluster.nodes)
    topic = scene.topic(_PARTITIONS)
    try:
        # All pods start on the node that is drained, so that a second one waits for the first.
        cluster.kubectl("cordon", other)
        scene.release.install({CONSUMER: scene.values(topic, _PARTITIONS, replicas=2)})
        cluster.kubectl("uncordon", other)
        with scene.load(topic) as load:
            scene.wait_until_delivering()
            drain = _Drain(cluster, left)
            ready: list[int] = []

            def drained() -> bool:
                ready.append(sum(map(is_ready, scene.release.pods(CONSUMER))))
                return drain.has_ended

            seconds = cluster.wait_for(drained, "the drain to end", timeout_s=150)
            scene.wait_until_delivering()
    finally:
        for node in cluster.nodes:
            cluster.kubectl("uncordon", node.name)
    assert drain.exit_code == 0, drain.output
    assert "would violate the pod's disruption budget" in drain.output
    assert min(ready) >= 1, "for a while no pod was ready"
    assert {pod["spec"]["nodeName"] for pod in scene.release.pods(CONSUMER)} == {other}
    scene.wait_until_committed(topic)
    scene.check_exactly(load.sent)
    refused = drain.output.count("would violate the pod's disruption budget")
    figure("drained in", f"{seconds:.0f} s, {refused} evictions refused meanwhile")
    figure("slowest message", f"{scene.slowest_s(load.sent):.1f} s until accepted")
