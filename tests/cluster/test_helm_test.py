"""``helm test`` checks what the release needs."""

from __future__ import annotations

from tests.cluster.conftest import Figure
from tests.cluster.scene import CONSUMER, Scene


def test_helm_test_passes_where_everything_is_there(scene: Scene, figure: Figure) -> None:
    topic = scene.topic(3)
    scene.release.install({CONSUMER: scene.values(topic, 3)})
    run = scene.release.test()
    assert run.returncode == 0, run.stdout + run.stderr
    figure("says", "Phase: Succeeded" if "Succeeded" in run.stdout else run.stdout)


def test_helm_test_fails_and_names_the_topic_where_it_is_missing(
    scene: Scene, figure: Figure
) -> None:
    values = scene.values("nobody-made-this", 3)
    scene.release.install({CONSUMER: values}, wait=False)
    run = scene.release.test()
    assert run.returncode != 0
    figure("says", _line_with("nobody-made-this", run.stdout))


def test_helm_test_fails_where_the_topic_has_other_partitions(scene: Scene, figure: Figure) -> None:
    topic = scene.topic(3)
    scene.release.install({CONSUMER: scene.values(topic, 4)})
    run = scene.release.test()
    assert run.returncode != 0
    figure("says", _line_with(f"{topic} has", run.stdout))


def _line_with(text: str, output: str) -> str:
    """Return a line of the test pod's log, not of the release's notes, which name topics too."""
    _, _, log = output.partition("POD LOGS")
    for line in log.splitlines():
        if text in line:
            return line.strip()
    raise AssertionError(f"the log says nothing of {text}:\n{output}")
