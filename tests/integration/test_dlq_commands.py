"""``consumer dlq`` on real Kafka: list, show, export and purge."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from consumer_fleet.command_options import user_name
from consumer_fleet.dead_letter_headers import restore
from consumer_fleet.recording.reader import Recording
from tests.conftest import TopicFactory
from tests.support.consumer_process import call_command
from tests.support.dead_letter_scene import DeadLetterScene, ingest_event
from tests.support.kafka_broker import KafkaBroker
from tests.support.scripted_receiver import ScriptedReceiver

BAD = [b"no MessagePack", b"\x1b[2Jevil", ingest_event(None, type="evemt"), b"\xc1" * 300]


@pytest.fixture
def scene(kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path) -> DeadLetterScene:
    return DeadLetterScene(kafka, topic(1), tmp_path)


def test_dead_letters_are_listed_shown_and_exported_without_a_group(
    scene: DeadLetterScene, upstream: ScriptedReceiver
) -> None:
    scene.dead_letter([ingest_event(uuid.uuid4().hex), *BAD], upstream)
    ends = scene.kafka.end_offsets(scene.dlq)

    table = scene.command("list")
    assert table.returncode == 0, table.stderr
    assert f"4 dead letters in {scene.dlq}; none replayed yet (4 waiting)" in table.stdout
    assert "invalid_msgpack                      3  20" in table.stdout
    assert f"  from {scene.topic}/0 (3)" in table.stdout
    assert "\x1b" not in table.stdout

    each = scene.command("list", "--each", "--limit", "3")
    assert len(each.stdout.splitlines()) == 1 + 3
    assert "1 more: list all with --limit 4" in each.stderr
    chosen = scene.json("list", "--each", "--reason", "unknown_type", "--origin", scene.topic)
    assert [letter["origin"]["offset"] for letter in chosen["dead_letters"]] == [3]
    assert scene.json("list", "--since", "2")["total"] == 2
    assert scene.json("list", "--until", "1")["total"] == 1
    assert scene.json("list", "--since", "-1h")["total"] == 4
    assert scene.json("list", "--until", "-1h")["total"] == 0
    typo = scene.command("list", "--reason", "typo", "--since", "2030-01-01")
    nothing = f"No match among the 4 messages in {scene.dlq}: reason typo, since 2030-01-01.\n"
    assert (typo.returncode, typo.stdout) == (0, nothing)

    shown = scene.command("show", "1")
    assert shown.returncode == 0, shown.stderr
    assert "\x1b" not in shown.stdout
    assert "1b 5b 32 4a 65 76 69 6c" in shown.stdout
    assert f"Origin    {scene.topic}/0@2" in shown.stdout
    assert "Now       ingest-events still rejects it: invalid_msgpack" in shown.stdout
    assert all(len(line) <= 200 for line in shown.stdout.splitlines())
    document = scene.json("show", "0/2")
    assert document["now"]["detail"].startswith("unknown_type")
    assert document["decoded"]["content"]["type"] == "evemt"

    done = scene.command("export", "-o", "dead.recording", "--reason", "invalid_msgpack")
    assert done.returncode == 0, done.stderr
    recording = Recording(scene.folder / "dead.recording")
    found = [record for _, record in recording.messages()]
    assert [record.value for record in found] == [BAD[0], BAD[1], BAD[3]]
    assert all(restore(record.headers) is not None for record in found)
    assert recording.header.filter == "reason invalid_msgpack"
    there = scene.command("export", "-o", "dead.recording")
    assert (there.returncode, "Traceback" in there.stderr) == (74, False)
    again = scene.json("export", "-o", "dead.recording", "--force", "--reason", "invalid_msgpack")
    assert again == {
        "topic": scene.dlq,
        "file": "dead.recording",
        "dead_letters": 3,
        "reasons": {"invalid_msgpack": 3},
    }
    from_file = scene.command("list", "--file", "dead.recording")
    assert "3 dead letters in dead.recording" in from_file.stdout
    same = scene.command("show", "--file", "dead.recording", "1")
    assert "1b 5b 32 4a 65 76 69 6c" in same.stdout

    assert scene.kafka.end_offsets(scene.dlq) == ends
    assert scene.replayed() == {}


def test_a_purge_says_what_would_go_and_deletes_nothing_else(
    scene: DeadLetterScene, upstream: ScriptedReceiver
) -> None:
    scene.dead_letter(BAD, upstream)
    planned = scene.command("purge", "--before", "3")
    assert planned.returncode == 0, planned.stderr
    assert "3 dead letters" in planned.stdout
    assert "invalid_msgpack 2, unknown_type 1" in planned.stdout
    assert "partition 0: all before offset 3" in planned.stdout
    assert "3 never replayed" in planned.stdout
    assert "add --yes" in planned.stdout
    document = {
        "topic": scene.dlq,
        "dead_letters": 3,
        "reasons": {"invalid_msgpack": 2, "unknown_type": 1},
        "before": {"0": 3},
        "group": scene.group,
        "never_replayed": 3,
        "executed": False,
    }
    assert scene.json("purge", "--before", "3") == document
    assert scene.kafka.start_offsets(scene.dlq) == {0: 0}

    done = scene.command("purge", "--before", "3", "--yes")
    assert done.returncode == 0, done.stderr
    assert "Deleted 3." in done.stdout
    assert "dead_letters_purged" in done.stderr
    assert f'"user": "{user_name()}"' in done.stderr
    assert '"never_replayed": 3' in done.stderr
    assert scene.kafka.start_offsets(scene.dlq) == {0: 3}
    assert scene.reasons() == {"invalid_msgpack": 1}

    # The rest is replayed from its own position on.
    replayed = scene.replay(upstream, "--rejects", "again.recording")
    assert replayed.returncode == 0, replayed.stderr
    assert "offsets_out_of_range" not in replayed.stderr
    assert scene.replayed() == {0: 4}
    all_gone = scene.json("purge", "--all", "--yes")
    assert (all_gone["never_replayed"], all_gone["executed"]) == (0, True)
    assert scene.kafka.start_offsets(scene.dlq) == {0: 4}
    assert "Nothing to purge" in scene.command("purge", "--all").stdout

    # The group is not left behind at an offset that is gone.
    scene.dead_letter([b"more"], upstream)
    assert "never replayed" in scene.command("purge", "--all", "--yes").stdout
    assert scene.replayed() == scene.kafka.end_offsets(scene.dlq) == {0: 9}
    assert f"No dead letters in {scene.dlq}." in scene.command("list").stdout


def test_a_topic_of_other_messages_is_not_purged(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    precious = DeadLetterScene(kafka, topic(1), tmp_path)
    precious.dlq = precious.topic
    kafka.produce(precious.topic, [b"1", b"2"])
    refused = precious.command("purge", "--all", "--yes")
    assert refused.returncode == 78
    assert "2 messages without dead-letter headers" in refused.stderr
    assert kafka.start_offsets(precious.topic) == {0: 0}
    assert "(not a dead letter)" in precious.command("list").stdout
    assert "it has no dlq.* headers" in precious.command("show", "0").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("list", "--origin", "/"), 78, "expected TOPIC or TOPIC/PARTITION"),
        (("list", "--limit", "3"), 2, "--limit goes with --each"),
        (("list", "--since", "soon"), 78, "'soon' is not a valid offset"),
        (("list", "--file", "missing.recording"), 65, "missing.recording"),
        (("list", "--file", "missing.recording", "--since", "1"), 2, "--since"),
        (("show", "x"), 78, "use OFFSET or PARTITION/OFFSET"),
        (("show", "9" * 5000), 78, "use OFFSET or PARTITION/OFFSET"),
        (("show", "9"), 78, "no message at offset 9: it holds offsets 0 to 3"),
        (("show", "1/0"), 78, "has no partition 1"),
        (("show", "0", "--json", "--raw"), 2, "exclude each other"),
        (("purge",), 2, "either --before POSITION or --all"),
        (("purge", "--all", "--before", "3"), 2, "either --before POSITION or --all"),
        (("export",), 2, "--output"),
        (("replay",), 78, "no DSN"),
        (("replay", "--dry-run", "--transform", "nothing"), 78, "MODULE:FUNCTION"),
        (("replay", "--dry-run", "--through", "nothing"), 78, "no consumer 'nothing'"),
        (("replay", "--upstream-dsn", "https://k@sentry.example.com/1"), 2, "add --yes"),
        (("list", "--dlq-topic", "no-such-dlq"), 78, "there is no topic 'no-such-dlq'"),
        (("replay", "--dry-run", "--dlq-topic", "no-such-dlq"), 78, "there is no topic"),
        (("list", "--bootstrap-servers", "127.0.0.1:1"), 69, "no Kafka broker answers"),
    ],
)
def test_a_users_mistake_is_one_line_and_a_named_code(
    damaged: DeadLetterScene,
    arguments: tuple[str, ...],
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(damaged.folder)
    done = call_command(*damaged.arguments(*arguments))
    assert (done.returncode, says in done.stderr, "Traceback" in done.stderr) == (
        code,
        True,
        False,
    ), done.stderr


@pytest.fixture(scope="module")
def damaged(kafka: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> DeadLetterScene:
    """Four dead letters that no test changes."""
    name = kafka.create_topic(f"dlq-mistakes-{uuid.uuid4().hex[:8]}", 1)
    found = DeadLetterScene(kafka, name, tmp_path_factory.mktemp("mistakes"))
    with ScriptedReceiver() as receiver:
        found.dead_letter(BAD, receiver)
    return found
