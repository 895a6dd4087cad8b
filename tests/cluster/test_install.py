"""The chart's consumers deliver what is in their topics, exactly."""

from __future__ import annotations

from tests.cluster.conftest import Figure
from tests.cluster.load import messages
from tests.cluster.scene import Scene

_EACH = 20_000
_PARTITIONS = 4
_TOPICS = ("events", "ingest-events", "envelopes")


def test_20000_messages_of_each_of_three_consumers_are_accepted_exactly_once(
    scene: Scene, figure: Figure
) -> None:
    topics = {name: scene.topic(_PARTITIONS, name) for name in _TOPICS}
    sent: dict[str, bytes] = {}
    for name, topic in topics.items():
        written = messages(name, _EACH)
        scene.kafka.produce(topic, written.values())
        sent |= written
    seconds = scene.release.install(
        {name: scene.values(topic, _PARTITIONS, name) for name, topic in topics.items()}
    )
    figure("helm install --wait", f"{seconds:.1f} s for {len(topics)} consumers")
    scene.cluster.wait_for(
        lambda: scene.receiver.count(scene.project) >= len(sent),
        "everything to be accepted",
        timeout_s=300,
    )
    for topic in topics.values():
        scene.wait_until_committed(topic)
    scene.check_exactly(sent)
    times = [each.time_s for each in scene.receiver.accepted(scene.project)]
    figure("accepted", f"{len(sent):,}, each once, within {max(times) - min(times):.0f} s")


def test_the_notes_name_a_command_that_shows_the_lag(scene: Scene, figure: Figure) -> None:
    topic = scene.topic(_PARTITIONS)
    scene.kafka.produce(topic, messages("ingest-events", 100).values())
    scene.release.install({"ingest-events": scene.values(topic, _PARTITIONS)})
    scene.wait_until_committed(topic)
    joined = scene.release.notes().replace("\\\n", " ")
    (command,) = (line for line in joined.splitlines() if "consumer status" in line)
    program, *arguments = command.split()
    assert program == "kubectl"
    shown = scene.cluster.kubectl(*arguments)
    rows = [line for line in shown.splitlines() if line.strip().startswith("ingest-events")]
    assert len(rows) == 1, shown
    figure("shows", " ".join(rows[0].split()))
