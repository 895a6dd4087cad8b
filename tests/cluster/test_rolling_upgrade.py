"""Rollouts under load lose and repeat nothing, and no partition waits long."""

from __future__ import annotations

import pytest

from tests.cluster.conftest import Figure
from tests.cluster.pod_logs import owners, without_owner_s
from tests.cluster.release import name_of
from tests.cluster.scene import CONSUMER, Scene

_PARTITIONS = 4
_LONGEST_S = 5.0


@pytest.mark.parametrize("membership", ["dynamic", "static", "kip848"])
def test_a_rolling_upgrade_under_load_loses_and_repeats_nothing(
    scene: Scene, figure: Figure, membership: str
) -> None:
    topic = scene.topic(_PARTITIONS)
    values = scene.values(topic, _PARTITIONS, replicas=2, membership=membership)
    scene.release.install({CONSUMER: values})
    old = {pod["metadata"]["uid"] for pod in scene.release.pods(CONSUMER)}
    with scene.load(topic) as load:
        scene.wait_until_delivering()
        seconds = scene.release.upgrade({CONSUMER: {**values, "config": {"connections": 32}}})
        scene.wait_until_delivering()
    new = {pod["metadata"]["uid"] for pod in scene.release.pods(CONSUMER)}
    assert len(new) == 2
    assert not new & old
    scene.wait_until_committed(topic)
    scene.check_exactly(load.sent)
    gaps = without_owner_s(scene.moves())
    figure("upgraded in", f"{seconds:.0f} s, {len(load.sent):,} messages meanwhile")
    figure("partitions without an owner", " ".join(f"{gap:.1f}" for gap in gaps.values()) + " s")
    figure("slowest message", f"{scene.slowest_s(load.sent):.1f} s until accepted")
    assert max(gaps.values()) <= _LONGEST_S


def test_a_static_members_restart_moves_no_partition(scene: Scene, figure: Figure) -> None:
    topic = scene.topic(_PARTITIONS)
    values = scene.values(topic, _PARTITIONS, replicas=2, membership="static")
    scene.release.install({CONSUMER: values})
    first, second = scene.release.pods(CONSUMER)
    with scene.load(topic) as load:
        members = {each["metadata"]["uid"] for each in (first, second)}

        def is_shared() -> bool:
            owned = owners(scene.moves())
            # The first member to join has all partitions for a moment.
            return len(owned) == _PARTITIONS and set(owned.values()) == members

        scene.cluster.wait_for(is_shared, "both to own partitions")
        before = {event.uid: event for event in scene.moves()}
        had = owners(scene.moves())
        scene.release.kubectl("delete", "pod", name_of(first))
        scene.cluster.wait_for(
            lambda: len(owners(scene.moves())) == _PARTITIONS, "the pod to be back", timeout_s=120
        )
        scene.wait_until_delivering()
    successor = scene.release.pod(name_of(first))["metadata"]["uid"]
    stayed = second["metadata"]["uid"]
    assert successor != first["metadata"]["uid"]
    assert owners(scene.moves()) == {
        partition: stayed if owner == stayed else successor for partition, owner in had.items()
    }
    # A member logs even a rebalance that changes nothing for it.
    assert [event for event in scene.moves() if event.uid == stayed][-1] == before[stayed]
    gaps = without_owner_s(scene.moves())
    figure("partitions without an owner", " ".join(f"{gap:.1f}" for gap in gaps.values()) + " s")
    scene.wait_until_committed(topic)
    scene.check_exactly(load.sent)
