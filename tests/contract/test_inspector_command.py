"""``consumer inspect`` as users run it: its output, exit codes and error messages."""

from __future__ import annotations

import re
import signal
import socket
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sentry_sdk
from click.testing import CliRunner

from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.cli import main
from consumer_fleet.inspector.store import Store
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.recording.writer import RecordingWriter
from tests.support.consumer_process import run_command
from tests.support.inspector_process import InspectorProcess

SECRET = "hunter2verysecret"
NOBODY = ("--bootstrap-servers", "127.0.0.1:9")


@pytest.fixture(scope="module")
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@dataclass(frozen=True)
class Bad:
    name: str
    arguments: tuple[str, ...]
    says: tuple[str, ...]
    code: int = 78
    environment: dict[str, str] = field(default_factory=dict)


BAD = (
    Bad("port taken", ("--port", "{taken}"), ("can't listen on 127.0.0.1:{taken}", "in use")),
    Bad("port too high", ("--port", "70000"), ("70000",), code=2),
    Bad("no such host", ("--host", "x.invalid", "--token-file", "{token}"), ("can't listen",)),
    Bad("no token", ("--host", "0.0.0.0"), ("--token-file", "INSPECTOR_TOKEN", "127.0.0.1")),
    Bad("weak token", ("--host", "0.0.0.0", "--token-file", "{weak}"), ("16 or more",)),
    Bad("empty token", ("--token-file", "{empty}"), ("{empty} is empty",)),
    Bad("weak token in the environment", (), ("16 or more",), environment={"INSPECTOR_TOKEN": "x"}),
    Bad("token file missing", ("--token-file", "none"), ("none", "does not exist"), code=2),
    Bad("no recording", ("{weak}",), ("{weak} is not a recording",), code=65),
    Bad("recording missing", ("none.rec",), ("none.rec can't be read",), code=65),
    Bad("two sources", ("--demo", "--topic", "events"), ("--topic and --demo can't",), code=2),
    Bad("file and topic", ("x.rec", "--dlq", "d"), ("FILE and --dlq can't be combined",), code=2),
    Bad("from without a topic", ("--demo", "--from", "latest"), ("--from requires",), code=2),
    Bad("consumer without one", ("--consumer", "events"), ("--consumer requires --topic",), code=2),
    Bad("no brokers", ("--topic", "events"), ("--bootstrap-servers", "CONSUMER_BOOTSTRAP_SERVERS")),
    Bad(
        "unknown topic",
        (*NOBODY, "--topic", "other"),
        ("unknown message format of 'other'", "--consumer", "ingest-events"),
    ),
    Bad(
        "unknown consumer",
        (*NOBODY, "--topic", "other", "--consumer", "event"),
        ("did you mean 'events'",),
    ),
    Bad("bad position", (*NOBODY, "--topic", "events", "--from", "noon"), ("'noon' is not",)),
    Bad("store of another", ("--store", "{weak}"), ("{weak}", "can't be used")),
    Bad("store nowhere", ("--store", "/nonexistent/x.db"), ("/nonexistent/x.db", "can't be used")),
    Bad("damaged store", ("--store", "{damaged}"), ("{damaged}", "can't be used", "malformed")),
    Bad("coverage missing", ("--coverage", "none.xml"), ("none.xml", "does not exist"), code=2),
    Bad("mapping", ("--path-map", "x"), ("path mapping 'x'", "FROM=TO")),
    Bad("no codecov token", ("--codecov-repo", "o/r"), ("--codecov-token-file", "CODECOV_TOKEN")),
    Bad(
        "bad codecov repository",
        ("--codecov-repo", "o"),
        ("'o'", "OWNER/REPOSITORY"),
        environment={"CODECOV_TOKEN": SECRET},
    ),
    Bad("bad setting", ("--set", "wrokers=3"), ("did you mean workers?",)),
)  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name.replace(" ", "-"))
def test_invalid_input_has_a_message_and_an_exit_code(
    bad: Bad, taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"token": SECRET, "weak": "0123", "empty": " \n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    Store(tmp_path / "damaged").close()
    (tmp_path / "damaged").write_bytes(
        (tmp_path / "damaged").read_bytes()[:4096] + b"\x99" * 20_000
    )
    values = {"taken": taken, **{name: name for name in (*files, "damaged")}}
    monkeypatch.chdir(tmp_path)
    for name in ("INSPECTOR_TOKEN", "CODECOV_TOKEN", "CONSUMER_BOOTSTRAP_SERVERS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in bad.environment.items():
        monkeypatch.setenv(name, value)
    arguments = [argument.format(**values) for argument in bad.arguments]

    run = CliRunner().invoke(main, ["inspect", *arguments])

    said = " ".join(run.output.split())
    assert [words for words in bad.says if words.format(**values) not in said] == [], said
    assert run.exit_code == bad.code
    assert "Traceback" not in said
    assert SECRET not in said
    assert "0123" not in said


def test_an_unreachable_broker_has_its_own_exit_code(tmp_path: Path) -> None:
    run = run_command(
        "inspect", "--topic", "events", *NOBODY, "--kafka-config", "socket.timeout.ms=1000",
        cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 69, run.stderr
    assert "127.0.0.1:9" in run.stderr or "events" in run.stderr
    assert run.stdout == ""


def test_without_a_source_it_receives_what_an_sdk_sends_to_its_dsn(tmp_path: Path) -> None:
    with InspectorProcess(tmp_path) as inspector:
        client = sentry_sdk.Client(inspector.dsn, default_integrations=False)
        event_id = client.capture_event({"message": "from the SDK"})
        client.close(timeout=10)
        (event,) = inspector.wait_for_events(1)
        assert (event["event_id"], event["title"]) == (event_id, "from the SDK")
        assert inspector.get("/api/status")["source"]["kind"] == "receiver"
        assert Dsn.parse(inspector.dsn).host == "127.0.0.1"
        assert inspector.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_stops_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with InspectorProcess(tmp_path, "--demo") as inspector:
        inspector.wait_for(lambda: len(inspector.events()) >= 15, "the demo's entries")
        assert inspector.get("/api/status")["coverage"] is True
        assert inspector.stop(number) == 0
        assert "Traceback" not in inspector.output()
        greeting = inspector.output().splitlines()[:2]
        assert greeting[0] == "Inspecting synthetic events"
        assert all(len(line) <= 80 for line in greeting)


def test_a_token_is_required_and_never_printed(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SECRET + "\n")
    with InspectorProcess(tmp_path, "--demo", "--token-file", "token") as inspector:
        with pytest.raises(urllib.error.HTTPError) as refused:
            inspector.get("/api/status")
        assert refused.value.code == 401
        status = inspector.get("/api/status", {"Authorization": f"Bearer {SECRET}"})
        assert status["source"]["kind"] == "demo"
        assert SECRET not in inspector.output()
        assert inspector.stop() == 0


def make_recording(path: Path) -> None:
    header = RecordingHeader("monday", 1, 1_700_000_000_000, {0: (5, 8)}, consumer="envelopes")
    values = [b'{}\n{"type":"event"}\n{"message":"one"}', b"junk", None]
    with RecordingWriter(path, header) as writer:
        records = [Record(5 + n, 1_700_000_000_000, None, v, ()) for n, v in enumerate(values)]
        writer.write([(0, record) for record in records])
        writer.complete()


def test_a_recording_is_shown_with_undecodable_messages(tmp_path: Path) -> None:
    make_recording(tmp_path / "monday.rec")
    with InspectorProcess(tmp_path, "monday.rec") as inspector:
        events = inspector.wait_for_events(3)
        assert [event["type"] for event in events] == ["undecodable", "undecodable", "default"]
        assert [event["origin"]["offset"] for event in events] == [7, 6, 5]
        assert inspector.get("/api/status")["source"] == {
            "kind": "recording",
            "name": "monday.rec",
            "problem": None,
        }
        assert inspector.get(f"/api/lookup/{events[2]['event_id']}") == {"id": events[2]["id"]}
        assert inspector.stop() == 0


def test_a_store_file_keeps_entries_and_reads_nothing_twice(tmp_path: Path) -> None:
    make_recording(tmp_path / "monday.rec")
    for _ in range(2):
        with InspectorProcess(tmp_path, "monday.rec", "--store", "seen.db") as inspector:
            inspector.wait_for_events(3)
            assert inspector.stop() == 0
    with InspectorProcess(tmp_path, "--store", "seen.db") as inspector:
        assert len(inspector.events()) == 3


def test_help_names_every_exit_code_and_fits_a_terminal() -> None:
    told = CliRunner().invoke(main, ["inspect", "--help"], terminal_width=80).output
    assert all(len(line) <= 80 for line in told.splitlines())
    assert re.findall(r"(?m)^    (\d+) ", told) == ["0", "2", "65", "69", "78"]
    assert "Examples:" in told
