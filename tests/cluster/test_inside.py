"""A pod seen from inside, and judged by the API server."""

from __future__ import annotations

import json

from tests.cluster.conftest import Figure
from tests.cluster.release import is_ready, name_of
from tests.cluster.scene import CONSUMER, Scene


def test_a_container_has_no_more_than_it_needs(scene: Scene, figure: Figure) -> None:
    topic = scene.topic(1)
    scene.release.install({CONSUMER: scene.values(topic, 1)})
    (pod,) = scene.release.pods(CONSUMER)

    def says(script: str) -> str:
        run = scene.release.exec(name_of(pod), script)
        return (run.stdout + run.stderr).strip()

    assert says("id -u") == "10001"
    assert "Read-only file system" in says("touch /new-file")
    assert "Read-only file system" in says("touch /opt/consumer-fleet/new-file")
    assert "No such file" in says("ls /var/run/secrets/kubernetes.io")
    assert says("touch /tmp/new-file /dev/shm/new-file && rm /tmp/new-file /dev/shm/new-file") == ""
    assert says("grep -E ' (/tmp|/dev/shm) ' /proc/mounts | cut -d' ' -f3 | sort -u") == "tmpfs"
    # The consumer is the first process: signals reach it without a shell between.
    assert says("tr '\\0' ' ' < /proc/1/cmdline").endswith("/bin/consumer run")
    status = dict(line.split(":\t") for line in says("cat /proc/1/status").splitlines())
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"  # a filter: the runtime's default
    version = says("consumer --version")
    assert "0.1.0" in version
    figure("inside", f"uid 10001, no capabilities, {version}")


def test_a_pod_that_is_not_restricted_is_refused(scene: Scene) -> None:
    """The other tests rely on what their namespaces enforce."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "plain"},
        "spec": {"containers": [{"name": "plain", "image": "plain"}]},
    }
    run = scene.cluster.control_plane.try_kubectl(
        f"--namespace={scene.release.namespace}",
        *("apply", "--dry-run=server", "--filename=-"),
        stdin=json.dumps(pod),
    )
    assert run.returncode != 0
    assert 'violates PodSecurity "restricted' in run.stderr


def test_a_killed_worker_leaves_no_zombie_and_the_pod_stays_ready(
    scene: Scene, figure: Figure
) -> None:
    topic = scene.topic(1)
    scene.release.install({CONSUMER: scene.values(topic, 1, workers=2)})
    (pod,) = scene.release.pods(CONSUMER)
    with scene.load(topic) as load:
        scene.wait_until_delivering()
        (victim, *_) = [event.fields["pid"] for event in scene.events("worker_ready")]
        scene.release.exec(name_of(pod), f"kill -9 {victim}")
        scene.cluster.wait_for(lambda: len(scene.events("worker_ready")) == 3, "a new worker")
        scene.wait_until_delivering()

    def is_without_zombies() -> bool:
        states = scene.release.exec(name_of(pod), "cat /proc/[0-9]*/stat").stdout.splitlines()
        assert len(states) >= 3
        # "pid (name) state …", where the name may contain anything.
        return all(line.rpartition(")")[2].split()[0] != "Z" for line in states)

    # A probe's process may be one for a moment.
    scene.cluster.wait_for(is_without_zombies, "no zombie to be left")
    assert is_ready(scene.release.pod(name_of(pod)))
    scene.wait_until_committed(topic)
    figure("came twice", f"{scene.check_nothing_lost(load.sent)} of {len(load.sent):,}")
