"""The thread that fills a store: in order, to the end, whatever the feed does."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consumer_fleet.consumers import registry
from consumer_fleet.errors import FleetError, KafkaUnreachable
from consumer_fleet.inspector.entry import EntrySource, KafkaPosition, NewEntry
from consumer_fleet.inspector.feeder import Feed, Feeder, recording_feed
from consumer_fleet.inspector.store import Store
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.recording.reader import Recording
from consumer_fleet.recording.writer import RecordingWriter
from tests.support.inspecting import event_entry
from tests.support.processes import wait_until

decode = registry.get("envelopes").decode


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.close()


def entry(offset: int) -> NewEntry:
    return event_entry({"message": str(offset)}, origin=KafkaPosition("events", 0, offset))


def titles(store: Store) -> list[str]:
    return [each.title for each in reversed(store.latest(100))]


def test_a_feed_is_stored_in_order_up_to_its_end(store: Store) -> None:
    def feed() -> Feed:
        yield [entry(1), entry(2)]
        yield []
        yield [entry(3)]

    feeder = Feeder(store, feed())
    feeder.start()
    wait_until(lambda: len(titles(store)) == 3, timeout_s=10, what="three entries")
    feeder.stop()
    assert titles(store) == ["1", "2", "3"]


def test_an_endless_feed_is_stopped_and_closed(store: Store) -> None:
    closed = threading.Event()

    def feed() -> Feed:
        try:
            while True:
                yield [entry(1)]
        finally:
            closed.set()

    feeder = Feeder(store, feed())
    feeder.start()
    wait_until(lambda: store.counts().accepted > 0, timeout_s=10, what="an entry")
    feeder.stop()
    assert closed.is_set()
    before = store.counts().accepted
    assert not [each for each in threading.enumerate() if each.name == "inspector-feeder"]
    assert store.counts().accepted == before


def test_a_failed_feed_has_a_problem_and_its_entries_stay(store: Store) -> None:
    def feed() -> Feed:
        yield [entry(1)]
        raise KafkaUnreachable("the topic is gone")

    source = EntrySource("topic", "events")
    feeder = Feeder(store, feed(), source)
    feeder.start()
    wait_until(lambda: source.problem is not None, timeout_s=10, what="the problem")
    feeder.stop()
    assert source.problem == "the topic is gone"
    assert titles(store) == ["1"]


def test_a_bug_ends_the_feed_with_a_problem_and_a_traceback(store: Store) -> None:
    def feed() -> Feed:
        yield [entry(1)]
        raise KeyError("frames")

    source = EntrySource("topic", "events")
    feeder = Feeder(store, feed(), source)
    with capture_logs() as logs:
        feeder.start()
        wait_until(lambda: not feeder._thread.is_alive(), timeout_s=10, what="the end")
    assert source.problem is not None
    assert "KeyError: 'frames'" in source.problem
    (line,) = logs
    assert (line["event"], line["log_level"], line["exc_info"]) == (
        "inspector_feed_ended", "error", True,
    )  # fmt: skip


def test_messages_stored_by_an_earlier_run_are_skipped(store: Store) -> None:
    store.add_all([entry(1), entry(2)])

    def feed() -> Feed:
        yield [entry(1), entry(2), entry(3), event_entry({"message": "no origin"})]

    feeder = Feeder(store, feed(), skip_known=True)
    feeder.start()
    wait_until(lambda: store.counts().accepted == 4, timeout_s=10, what="two more")
    feeder.stop()
    assert titles(store) == ["1", "2", "3", "no origin"]


def recording(path: Path, count: int, padding: int = 0) -> Path:
    chance = random.Random(1)
    header = RecordingHeader("envelopes", 1, 1_700_000_000_000, {0: (0, count)})
    with RecordingWriter(path, header) as writer:
        for offset in range(count):
            message = b'{"message":"%b"}' % chance.randbytes(padding).hex().encode()
            value = b"junk" if offset == 1 else b'{}\n{"type":"event"}\n' + message
            writer.write([(0, Record(offset, 1_700_000_000_000, None, value, ()))])
        writer.complete()
    return path


def test_a_recording_is_read_completely_with_undecodable_messages(
    store: Store, tmp_path: Path
) -> None:
    batches = list(recording_feed(Recording(recording(tmp_path / "a.rec", 450)), decode))
    entries = [each for batch in batches for each in batch]
    assert len(entries) == 450
    assert max(len(batch) for batch in batches) <= 200
    assert [each.origin.offset for each in entries if each.origin] == list(range(450))
    assert [each.origin.offset for each in entries if each.undecodable and each.origin] == [1]


def test_readable_messages_of_a_truncated_recording_come_before_the_error(tmp_path: Path) -> None:
    # Fewer than a batch: they must be yielded before the error.
    path = recording(tmp_path / "a.rec", 30, padding=200_000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    feed = recording_feed(Recording(path), decode)
    batches: list[Sequence[NewEntry]] = []
    with pytest.raises(FleetError, match="readable"):
        batches.extend(feed)
    assert 0 < sum(len(batch) for batch in batches) < 30
