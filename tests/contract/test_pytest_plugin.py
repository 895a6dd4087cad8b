"""The plugin as a project's pytest run has it: fixtures, options, expectation files."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest

from consumer_fleet.errors import RecordingError
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.recording.reader import Recording
from consumer_fleet.recording.writer import RecordingWriter
from consumer_fleet.run.demonstration import example_messages
from consumer_fleet.testing import MadeRecording, replay
from consumer_fleet.testing.recording import record_again

pytest_plugins = ["pytester"]

# By its module, whether or not this environment has the entry point: never twice.
_ARGUMENTS = (
    "-p",
    "no:consumer_fleet",
    "-p",
    "consumer_fleet.pytest_plugin",
    "-p",
    "no:cacheprovider",
)

_CODEC = """
from consumer_fleet.capture.envelope import build, make_item
from consumer_fleet.codec import Skipped

def decode(message):
    if message.value == b"skip":
        return Skipped("on_purpose")
    event_id = message.derived_event_id()
    return build(event_id, [make_item("event", b'{"message":"%s"}' % message.value)])
"""
_TEST = """
import my_codec

def test_it(recording, replay):
    replayed = replay(recording("orders"), decode=my_codec.decode)
    assert [each.event["message"] for each in replayed.envelopes["upstream"]] == ["a", "b"]
    assert replayed.filtered == {"on_purpose": 1}
    replayed.check()
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with a codec of its own, a recording, and a test of both."""
    monkeypatch.delenv("CI", raising=False)
    pytester.makepyfile(my_codec=_CODEC, test_it=_TEST)
    pytester.syspathinsert()
    record(pytester.path / "recordings" / "orders.recording", [b"a", b"skip", b"b"])
    return pytester


def record(path: Path, values: list[bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    made = MadeRecording(values, topic="orders")
    with RecordingWriter(path, made.header) as writer:
        writer.write(made.messages())
        writer.complete()


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest_inprocess(*_ARGUMENTS, *arguments)


def expectation(project: pytest.Pytester) -> Path:
    return project.path / "recordings" / "orders.recording.expected.json"


def test_an_expectation_is_written_then_compared_with(project: pytest.Pytester) -> None:
    missing = run(project)
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines(["*AssertionError: there is no expectation yet:*"])

    written = run(project, "--update-recordings")
    written.assert_outcomes(passed=1)
    written.stdout.fnmatch_lines([f"consumer-fleet: written: {expectation(project)}"])
    run(project).assert_outcomes(passed=1)

    again = run(project, "--update-recordings")
    again.assert_outcomes(passed=1)
    again.stdout.no_fnmatch_line("consumer-fleet: written:*")


def test_what_differs_from_the_expectation_is_shown_as_a_diff(project: pytest.Pytester) -> None:
    run(project, "--update-recordings").assert_outcomes(passed=1)
    path = expectation(project)
    path.write_text(path.read_text().replace('"message": "b"', '"message": "c"'))
    failed = run(project)
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines(
        [
            "*replayed.check()",
            "E   *AssertionError: the replay differs from *orders.recording.expected.json",
            "E   *--- expected",
            "E   *+++ replayed",
            "E   *@@ upstream: orders/0@2 @@",
            'E   *-*"message": "c"',
            'E   *+*"message": "b"',
            "E   *pytest --update-recordings",
        ]
    )


def test_an_expectation_formatted_by_another_tool_is_the_same(project: pytest.Pytester) -> None:
    run(project, "--update-recordings").assert_outcomes(passed=1)
    path = expectation(project)
    path.write_text(path.read_text().replace("\n", "").replace(" ", ""))
    run(project).assert_outcomes(passed=1)


def test_an_invalid_expectation_file_is_reported(project: pytest.Pytester) -> None:
    for text in ("<<<<<<< HEAD\n", "[]", "{}", '{"envelopes": {"upstream": [{}]}}'):
        expectation(project).write_text(text)
        run(project).stdout.fnmatch_lines(["*expected.json is not a valid expectation *"])


def test_two_replays_of_a_recording_have_two_names(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_it="""
        import my_codec

        def test_saas(recording, replay):
            replay(recording("orders"), decode=my_codec.decode).check(NAME)

        def test_refused(recording, replay):
            replay(recording("orders"), decode=my_codec.decode, answers=lambda _: 400).check()
        """.replace("NAME", "")
    )
    both = run(project, "--update-recordings")
    both.assert_outcomes(passed=1, failed=1)
    both.stdout.fnmatch_lines(["*two different replays of this run would be stored in *"])

    project.makepyfile(
        test_it=(project.path / "test_it.py").read_text().replace("k()", "k('x')", 1)
    )
    run(project, "--update-recordings").assert_outcomes(passed=2)
    run(project).assert_outcomes(passed=2)
    names = sorted(each.name for each in (project.path / "recordings").glob("*.json"))
    assert names == ["orders.recording.expected.json", "orders.recording.x.expected.json"]


def test_a_made_up_recording_needs_a_name_for_its_expectation(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_it="""
        import my_codec, pytest
        from consumer_fleet.testing import Message
        from consumer_fleet.errors import ConfigurationError

        def test_it(recording, replay):
            messages = [b"a", None, Message(b"b", key=b"k", headers=(("h", b"1"),), partition=2)]
            replayed = replay(recording.of(messages[::2]), decode=my_codec.decode)
            assert replayed.commits == {0: 1, 2: 1}
            with pytest.raises(ConfigurationError, match="give check"):
                replayed.check()
            with pytest.raises(ConfigurationError, match="letters, digits"):
                replayed.check("../../elsewhere")
            replayed.check("own-name")
        """
    )
    (project.path / "recordings" / "orders.recording").unlink()
    (project.path / "recordings").rmdir()
    run(project, "--update-recordings").assert_outcomes(passed=1)
    assert (project.path / "recordings" / "own-name.expected.json").exists()


def test_an_expectation_holds_what_was_sent_and_nothing_that_changes(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(
        my_codec="""
        from consumer_fleet.capture.envelope import build, make_item

        def decode(message):
            items = [
                make_item("event", b'{"id":12345678901234567890,"e":"\\u00e9"}'),
                make_item("attachment", b"a log line", filename="app.log"),
                make_item("attachment", bytes(range(256)), filename="core"),
                make_item("attachment", b"x" * 5000),
                make_item("attachment", b""),
            ]
            return build(message.derived_event_id(), items, {"trace": {"a": 1}})
        """,
        test_it="""
        import my_codec

        def test_it(recording, replay):
            replay(recording("orders"), decode=my_codec.decode, saas=0.4).check()
        """,
    )
    run(project, "--update-recordings").assert_outcomes(passed=1)
    kept = json.loads(expectation(project).read_text())
    assert (kept["delivered"], kept["commits"], kept["filtered"]) == (3, {"0": 3}, {})
    first = kept["envelopes"]["upstream"][0]
    assert first["origin"] == "orders/0@0"
    assert first["header"] == {"event_id": first["header"]["event_id"], "trace": {"a": 1}}
    empty = {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    assert first["items"] == [
        {"type": "event", "header": {}, "json": {"id": 12345678901234567890, "e": "é"}},
        {"type": "attachment", "header": {"filename": "app.log"}, "text": "a log line"},
        {
            "type": "attachment",
            "header": {"filename": "core"},
            "bytes": 256,
            "sha256": hashlib.sha256(bytes(range(256))).hexdigest(),
        },
        {
            "type": "attachment",
            "header": {},
            "bytes": 5000,
            "sha256": hashlib.sha256(b"x" * 5000).hexdigest(),
        },
        {"type": "attachment", "header": {}, **empty},
    ]
    run(project).assert_outcomes(passed=1)


def test_a_long_difference_is_cut_and_says_how_much_more_there_is(
    project: pytest.Pytester,
) -> None:
    record(project.path / "recordings" / "many.recording", [b"%d" % each for each in range(300)])
    project.makepyfile(
        test_it="""
        import my_codec

        def test_it(recording, replay):
            replay(recording("many"), decode=my_codec.decode).check()
        """
    )
    run(project, "--update-recordings").assert_outcomes(passed=1)
    path = project.path / "recordings" / "many.recording.expected.json"
    kept = json.loads(path.read_text())
    for envelope in kept["envelopes"]["upstream"]:
        envelope["header"]["more"] = 1
    del kept["envelopes"]["upstream"][7]
    path.write_text(json.dumps(kept))
    failed = run(project)
    failed.stdout.fnmatch_lines(
        [
            "E *@@ upstream: orders/0@0 @@",
            'E *-*"more": 1',
            "E *… and 2?? more envelopes differ",
        ]
    )
    assert len(failed.stdout.lines) < 300


@pytest.mark.parametrize("value", ["true", "1", "anything"])
def test_nothing_is_written_in_ci(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("CI", value)
    refused = run(project, "--update-recordings")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*not allowed where CI is set*"])
    assert not expectation(project).exists()
    monkeypatch.setenv("CI", "false")
    run(project, "--update-recordings").assert_outcomes(passed=1)


def test_a_missing_or_damaged_recording_says_which_there_are(project: pytest.Pytester) -> None:
    (project.path / "recordings" / "bad.recording").write_bytes(b"PK\x03\x04")
    whole = (project.path / "recordings" / "orders.recording").read_bytes()
    (project.path / "recordings" / "cut.recording").write_bytes(whole[:-30])
    project.makepyfile(
        test_it="""
        import my_codec

        def test_missing(recording):
            recording("nothing")

        def test_bad(recording):
            recording("bad")

        def test_cut(recording, replay):
            replay(recording("cut.recording"), decode=my_codec.decode)
        """
    )
    failed = run(project)
    failed.assert_outcomes(failed=3)
    failed.stdout.fnmatch_lines(
        [
            '>       recording("nothing")',
            "E *RecordingError: no recording 'nothing' in *recordings: there are "
            "bad.recording, cut.recording, orders.recording. *consumer record*",
            '>       recording("bad")',
            "E *RecordingError: *bad.recording is not a recording*",
            '>       replay(recording("cut.recording"), decode=my_codec.decode)',
            "E *RecordingError: *cut.recording is cut or damaged at byte *",
        ],
    )
    failed.stdout.no_fnmatch_line("*consumer_fleet/testing/replay.py:*")


def test_the_folder_of_the_recordings_is_an_ini_option(project: pytest.Pytester) -> None:
    (project.path / "recordings").rename(project.path / "kept")
    project.makeini("[pytest]\nconsumer_fleet_recordings = kept\n")
    run(project, "--update-recordings").assert_outcomes(passed=1)
    assert (project.path / "kept" / "orders.recording.expected.json").exists()


def test_a_recording_knows_its_consumer(project: pytest.Pytester) -> None:
    path = project.path / "recordings" / "raw.recording"
    header = RecordingHeader("eu-envelopes", 1, 0, {0: (0, 1)}, consumer="envelopes")
    made = MadeRecording([b'{}\n{"type":"session"}\n{}'], topic="eu-envelopes")
    with RecordingWriter(path, header) as writer:
        writer.write(made.messages())
        writer.complete()
    project.makepyfile(
        test_it="""
        def test_it(recording, replay):
            (envelope,) = replay(recording("raw")).envelopes["upstream"]
            assert envelope.items[0].type == "session"
            assert envelope.items[0].json == {}
        """
    )
    run(project).assert_outcomes(passed=1)


def test_it_runs_in_parallel_and_twice_in_one_process(project: pytest.Pytester) -> None:
    run(project, "--update-recordings").assert_outcomes(passed=1)
    for number in range(5):
        (project.path / f"test_{number}.py").write_text(_TEST)
    for _ in range(2):
        run(project).assert_outcomes(passed=6)
    parallel = project.runpytest_subprocess(*_ARGUMENTS, "-p", "xdist", "-n", "2")
    parallel.assert_outcomes(passed=6)
    refused = project.runpytest_subprocess(*_ARGUMENTS, "-n", "2", "--update-recordings")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*run it in one process, without -n*"])


def test_a_run_without_its_fixtures_imports_nothing_of_the_package(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(
        test_it="""
        import sys

        def test_it():
            heavy = {"arroyo", "confluent_kafka", "pycurl", "pydantic", "sentry_sdk", "structlog"}
            assert heavy & set(sys.modules) == set()
            ours = {name for name in sys.modules if name.split(".")[0] == "consumer_fleet"}
            assert ours == {"consumer_fleet", "consumer_fleet.pytest_plugin"}
        """
    )
    project.runpytest_subprocess(*_ARGUMENTS).assert_outcomes(passed=1)


def test_the_package_itself_does_without_pytest() -> None:
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "import consumer_fleet.cli, consumer_fleet.run.consumer_run, consumer_fleet.testing\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"scrubbed": True}, "it is scrubbed, and its message format is unknown"),
        ({"filter": "reason http_400"}, "its filter is not a JMESPath expression"),
        # A recording of an earlier version, whose filters had a language of their own.
        ({"filter": "key~=^a"}, "its filter is not a JMESPath expression"),
        ({"filter": "key ==", "filter_language": "jmespath"}, "its filter is not valid"),
    ],
)
def test_what_can_not_be_filtered_and_scrubbed_as_it_was_is_not_recorded_again(
    tmp_path: Path, header: dict[str, Any], says: str
) -> None:
    path = tmp_path / "a.recording"
    made = MadeRecording([b"a"])
    with RecordingWriter(path, replace(made.header, **header)) as writer:
        writer.write(made.messages())
        writer.complete()
    before = path.read_bytes()
    with pytest.raises(RecordingError, match=f"can't be recorded again: {says}"):
        record_again(Recording(path), {"bootstrap.servers": "127.0.0.1:9"})
    assert path.read_bytes() == before


@pytest.mark.timed
def test_a_thousand_messages_take_less_than_a_calibrated_second() -> None:
    """The yardstick: what this machine, as busy as it is now, takes for parsing alone."""
    messages = list(islice(example_messages("events"), 1000))
    recording = MadeRecording(messages)
    replay(recording)

    def parse_all() -> None:
        for _ in range(5):
            for message in messages:
                orjson.dumps(orjson.loads(message))

    yardstick_s = min(_timed(parse_all) for _ in range(3))
    replay_s = min(_timed(lambda: replay(recording)) for _ in range(3))
    sys.stdout.write(f"1,000 messages: {replay_s:.3f} s, yardstick {yardstick_s:.3f} s\n")
    assert replay_s < 15 * yardstick_s


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
