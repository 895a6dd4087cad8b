"""Probes, signals, evictions and lost memory: none of them loses a message."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.cluster.conftest import Figure
from tests.cluster.leftovers import cgroups
from tests.cluster.pod_logs import owners
from tests.cluster.release import container_of, is_ready, name_of
from tests.cluster.scene import CONSUMER, Scene

_FINALIZER = "consumer-fleet.test/kept"
# Detect quickly: the defaults take minutes.
_IMPATIENT: dict[str, Any] = {
    "shutdownTimeoutSeconds": 3,
    "terminationGracePeriodSeconds": 18,
    "heartbeat": {"freshnessSeconds": 8},
    "probes": {"liveness": {"periodSeconds": 2, "failureThreshold": 2}},
    "kafka": {"rdkafka": {"session.timeout.ms": 8000, "heartbeat.interval.ms": 1000}},
}


def test_a_standby_pod_is_ready_and_stays_ready_while_others_lag(
    scene: Scene, figure: Figure
) -> None:
    topic = scene.topic(2)
    values = scene.values(topic, 2, replicas=3, allowStandby=True, **_IMPATIENT)
    scene.release.install({CONSUMER: values})

    def is_shared() -> bool:
        owned = owners(scene.moves())
        return len(owned) == len(set(owned.values())) == 2

    scene.cluster.wait_for(is_shared, "two pods to own a partition each")
    busy = set(owners(scene.moves()).values())
    (standby,) = (pod for pod in scene.release.pods(CONSUMER) if pod["metadata"]["uid"] not in busy)
    scene.receiver.answer_after(scene.project, 1.0)
    watched_s = 3 * 8.0  # so many heartbeats that a stale one would have been noticed
    with scene.load(topic) as load:
        started = time.monotonic()

        def watched() -> bool:
            pod = scene.release.pod(name_of(standby))
            assert is_ready(pod), "the standby is not ready any more"
            assert container_of(pod)["restartCount"] == 0
            return time.monotonic() - started > watched_s

        scene.cluster.wait_for(watched, "the standby to be watched")
        lag = len(load.sent) - scene.receiver.count(scene.project)
    assert lag > 0, "nobody lagged: this test has shown nothing"
    figure("stayed ready for", f"{watched_s:.0f} s, while the others lagged by {lag:,}")
    scene.receiver.answer_after(scene.project, 0.0)
    scene.wait_until_committed(topic)
    scene.check_exactly(load.sent)


def test_a_wedged_consumer_is_restarted_by_its_probe_and_loses_nothing(
    scene: Scene, figure: Figure
) -> None:
    topic = scene.topic(4)
    scene.release.install({CONSUMER: scene.values(topic, 4, replicas=2, **_IMPATIENT)})
    pod, _ = scene.release.pods(CONSUMER)
    with scene.load(topic) as load:
        scene.wait_until_delivering()
        os.kill(_main_pid(scene, pod), signal.SIGSTOP)
        seconds = scene.cluster.wait_for(
            lambda: container_of(scene.release.pod(name_of(pod)))["restartCount"] == 1,
            "the liveness probe to have it restarted",
        )
        scene.wait_until_delivering()
    events = scene.release.kubectl("get", "events", "--field-selector=reason=Killing")
    assert "failed liveness probe" in events
    scene.wait_until_committed(topic)
    figure("restarted after", f"{seconds:.0f} s")
    figure("came twice", f"{scene.check_nothing_lost(load.sent)} of {len(load.sent):,}")


def test_a_pod_out_of_memory_loses_nothing(scene: Scene, figure: Figure) -> None:
    topic = scene.topic(2)
    scene.release.install({CONSUMER: scene.values(topic, 2, **_IMPATIENT)})
    (pod,) = scene.release.pods(CONSUMER)
    with scene.load(topic, per_second=60, padding=200_000) as load:
        scene.wait_until_delivering()
        limit = _memory_limit(container_of(pod)["containerID"].removeprefix("containerd://"))

        def killed() -> bool:
            container = container_of(scene.release.pod(name_of(pod)))
            if container["restartCount"]:
                return True
            _lower(limit)
            return False

        scene.cluster.wait_for(killed, "the kernel to kill the pod")
        scene.wait_until_delivering()
    last = container_of(scene.release.pod(name_of(pod)))["lastState"]["terminated"]
    assert last["reason"] == "OOMKilled"
    scene.wait_until_committed(topic)
    figure("ended with", f"{last['reason']}, exit code {last['exitCode']}")
    figure("came twice", f"{scene.check_nothing_lost(load.sent)} of {len(load.sent):,}")


def test_sigterm_ends_a_pod_within_its_grace_period_with_0(scene: Scene, figure: Figure) -> None:
    topic = scene.topic(2)
    scene.release.install({CONSUMER: scene.values(topic, 2)})
    (pod,) = scene.release.pods(CONSUMER)
    name = name_of(pod)
    with scene.load(topic) as load:
        scene.wait_until_delivering()
        # The finalizer keeps the pod's status until it is read here.
        _keep(scene, name, _FINALIZER)
        asked_s = int(time.time())  # Kubernetes writes whole seconds
        scene.release.kubectl("delete", "pod", name, "--wait=false")
        scene.cluster.wait_for(
            lambda: "terminated" in container_of(scene.release.pod(name))["state"], "its end"
        )
        ended = scene.release.pod(name)
        _keep(scene, name)
        scene.wait_until_delivering()
    terminated = container_of(ended)["state"]["terminated"]
    # Not the deletion's grace period: the kubelet sets that to 0 once the pod has ended.
    grace_s = ended["spec"]["terminationGracePeriodSeconds"]
    took_s = _unix_time(terminated["finishedAt"]) - asked_s
    figure("ended after", f"{took_s:.0f} s of {grace_s} s, exit code {terminated['exitCode']}")
    assert terminated["exitCode"] == 0
    assert took_s < grace_s
    scene.wait_until_committed(topic)
    scene.check_exactly(load.sent)


def _main_pid(scene: Scene, pod: dict[str, Any]) -> int:
    container_id = container_of(pod)["containerID"].removeprefix("containerd://")
    return scene.cluster.node_of(pod).pid_of(container_id)


def _memory_limit(container_id: str) -> Path:
    for root in cgroups(""):
        for name in ("memory.limit_in_bytes", "memory.max"):
            for found in root.rglob(f"*{container_id}/{name}"):
                return found
    raise LookupError(f"no cgroup of {container_id}")


def _lower(limit: Path) -> None:
    """Lower the limit to the current use, so that the next growth exceeds it."""
    used = limit.with_name("memory.usage_in_bytes" if "limit" in limit.name else "memory.current")
    try:
        limit.write_text(used.read_text())
    except OSError:
        return  # in use at this moment, or just gone


def _keep(scene: Scene, pod: str, *finalizers: str) -> None:
    patch = json.dumps({"metadata": {"finalizers": finalizers}})
    scene.release.kubectl("patch", "pod", pod, "--type=merge", f"--patch={patch}")


def _unix_time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
