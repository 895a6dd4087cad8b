"""The tables and lines of ``dlq list``."""

from __future__ import annotations

from consumer_fleet.dlq import list as listing
from consumer_fleet.dlq.letters import DeadLetterCounts
from tests.support.dead_letters import LETTERS, letter


def test_the_table_counts_by_reason_most_first_and_fits_80_columns() -> None:
    counts = DeadLetterCounts(
        [*LETTERS, letter(9, "an_extraordinarily_long_reason_of_somebody" * 3)]
    )
    lines = list(listing.table(counts, 80))
    assert next(line.split()[0] for line in lines[1:] if not line.startswith(" ")) == "http_400"
    assert "  from events/1 (1), ingest-events/1 (1)" in lines
    assert all(len(line) <= 80 and line.isprintable() for line in lines)
    assert str(DeadLetterCounts(LETTERS)) == "http_400 2, (not a dead letter) 1, invalid_json 1"


def test_a_line_for_each_fits_80_columns_on_a_terminal_and_is_whole_in_a_pipe() -> None:
    far = letter(123_456, "worker_killed", "a-topic-with-a-rather-long-name", partition=31)
    for each in (*LETTERS, far):
        assert len(listing.line(each, 80)) <= 80
        assert listing.line(each, 80).isprintable()
    assert len(listing.head()) <= 80
    assert listing.line(far, 10_000).count("is wrong") == 20
    assert "-name/31@1234560" in listing.line(far, 80)


def test_times_are_those_of_the_oldest_and_the_newest() -> None:
    (entry,) = listing.as_document(DeadLetterCounts([letter(5), letter(2), letter(9)]))
    assert (entry["oldest_ms"], entry["newest_ms"]) == (1_700_000_002_000, 1_700_000_009_000)
    assert (entry["count"], entry["bytes"]) == (3, 15)
    # A producer's own timestamp may be 0.
    epoch = letter(0)._replace(record=letter(0).record._replace(timestamp_ms=0))
    (entry,) = listing.as_document(DeadLetterCounts([epoch, letter(5)]))
    assert (entry["oldest_ms"], entry["newest_ms"]) == (0, 1_700_000_005_000)
