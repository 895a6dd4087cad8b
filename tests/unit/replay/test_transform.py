"""Messages before their codec in a replay: restored, then transformed, in a worker."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest
from arroyo.types import Partition, Topic

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.dead_letter_headers import Facts, with_facts
from consumer_fleet.errors import ConfigurationError, RejectedMessage
from consumer_fleet.kafka.chunk import Chunk, Record
from consumer_fleet.replay.transform import DecodeByOrigin, Restore, load_transform
from consumer_fleet.worker import protocol
from consumer_fleet.worker.work import Work

FACTS = Facts("http_400", "no", "ingest-events", 3, 41, 1_700_000_000_123, "my-group")
ORIGINAL = RawMessage("ingest-events", 3, 41, 1_700_000_000_123, b"value", b"key", (("h", b"1"),))
DEAD = ORIGINAL._replace(
    topic="ingest-events-dlq",
    partition=0,
    offset=9_000,
    timestamp_ms=1_800_000_000_000,
    headers=tuple(with_facts(ORIGINAL.headers, FACTS)),
)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the working directory, with functions to replay through."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"fix_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(
        "def fix(record): return record._replace(value=record.value + b'!', offset=7)\n"
        "def skip(record): return None\n"
        "def fail(record):\n    return {}[record.key]\n"
        "def odd(record): return 'text'\n"
        "def text(record): return record._replace(value='text')\n"
        "def see(record): return record._replace(value=repr(tuple(record)).encode())\n"
        "constant = 1\n"
    )
    (tmp_path / f"{name}_broken.py").write_text("import nothing_of_that_name\n")
    return name


def test_a_dead_letter_is_restored_and_so_is_its_derived_event_id() -> None:
    restored = Restore()(DEAD)
    assert restored == ORIGINAL
    assert isinstance(restored, RawMessage)
    assert restored.derived_event_id() == ORIGINAL.derived_event_id() != DEAD.derived_event_id()


def test_a_message_that_is_not_a_dead_letter_passes_unchanged() -> None:
    assert Restore()(ORIGINAL) == ORIGINAL


def test_a_transform_sees_the_original_and_can_change_all_but_its_position(module: str) -> None:
    restored = Restore(f"{module}:see")(DEAD)
    assert isinstance(restored, RawMessage)
    assert (
        restored.value
        == repr((41, ORIGINAL.timestamp_ms, b"key", b"value", (("h", b"1"),))).encode()
    )
    fixed = Restore(f"{module}:fix")(DEAD)
    assert fixed == ORIGINAL._replace(value=b"value!")


def test_none_skips_the_message(module: str) -> None:
    assert Restore(f"{module}:skip")(DEAD) == Skipped("transform")


@pytest.mark.parametrize(
    ("function", "detail"),
    [
        ("fail", r"KeyError: b'key' \(fix_\d+.py, line 4\)"),
        ("odd", "it returned str: neither Record nor None"),
        ("text", "it made the value a str, not bytes"),
    ],
)
def test_a_transform_that_fails_rejects_the_message_and_says_where(
    module: str, function: str, detail: str
) -> None:
    with pytest.raises(RejectedMessage, match=f"^transform_failed: {detail}"):
        Restore(f"{module}:{function}")(DEAD)


def test_it_pickles_into_a_worker(module: str) -> None:
    again = pickle.loads(pickle.dumps(Restore(f"{module}:fix")))
    assert again(DEAD) == ORIGINAL._replace(value=b"value!")


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("nocolon", "is not MODULE:FUNCTION"),
        (":run", "is not MODULE:FUNCTION"),
        ("{}:", "is not MODULE:FUNCTION"),
        ("{}:missing", "has no such function"),
        ("{}:constant", "has no such function"),
        ("no_such_module_here:run", "can't be imported: ModuleNotFoundError"),
        ("{}_broken:run", "can't be imported: ModuleNotFoundError.*nothing_of_that_name"),
    ],
)
def test_an_invalid_reference_is_refused_in_one_line(
    module: str, reference: str, problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem) as raised:
        load_transform(reference.format(module))
    assert "\n" not in str(raised.value)


def test_the_working_directory_is_searched_last(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A module of the standard library that nothing here needs.
    monkeypatch.delitem(sys.modules, "pyclbr", raising=False)
    (tmp_path / "pyclbr.py").write_text("def run(record): return record\n")
    with pytest.raises(ConfigurationError, match="has no such function"):
        load_transform("pyclbr:run")


def test_a_task_carries_key_and_headers_only_where_the_run_prepares_messages() -> None:
    record = Record(41, 1, b"key", b"value", (("h", b"1"), ("n", None)))
    work = Work(Chunk(Partition(Topic("t"), 3), (record,), 8))
    for whole, keys, headers in ((False, [], []), (True, [b"key"], [[["h", b"1"], ["n", None]]])):
        sent = protocol.encode_task(work.task(1, 0, [0], whole=whole))
        task = protocol.as_task(protocol.decode(sent)[1])
        assert (task.offsets, task.values, task.keys) == ([41], [b"value"], keys)
        assert task.headers == headers


def test_dead_letters_of_several_topics_go_to_their_own_codecs() -> None:
    decode = pickle.loads(
        pickle.dumps(DecodeByOrigin((("raw", "envelopes"), ("ingest-events", "ingest-events"))))
    )
    envelope = decode(ORIGINAL._replace(topic="raw", value=b'{"a":1}\n{"type":"event"}\n{}'))
    assert isinstance(envelope, Envelope)
    with pytest.raises(RejectedMessage, match="invalid_msgpack"):
        decode(ORIGINAL)
    with pytest.raises(RejectedMessage, match="unknown_origin"):
        decode(ORIGINAL._replace(topic="strange"))
