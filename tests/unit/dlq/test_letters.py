"""Dead letters selected by reason and origin, and counted."""

from __future__ import annotations

import pytest

from consumer_fleet.dead_letter_headers import Facts, restore, with_facts
from consumer_fleet.dlq.letters import DeadLetterCounts, Letter, LetterFilter, Selection
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.kafka.chunk import Record
from tests.support.dead_letters import LETTERS, letter


@pytest.mark.parametrize(
    ("reasons", "origin", "offsets"),
    [
        ((), None, [1, 2, 3, 4]),
        (("http_400",), None, [2, 3]),
        (("http_400", "invalid_json"), "events", [1, 2]),
        ((), "events", [1, 2]),
        ((), "events/1", [2]),
        (("(not a dead letter)",), None, [4]),
        (("missing",), None, []),
    ],
)
def test_a_selection_takes_the_named_reasons_and_origins(
    reasons: tuple[str, ...], origin: str | None, offsets: list[int]
) -> None:
    selection = Selection.parse(reasons, origin)
    assert [each.record.offset for each in LETTERS if selection.takes(each)] == offsets
    assert selection.is_everything == (not reasons and origin is None)


@pytest.mark.parametrize(
    "origin", ["/1", "events/", "events/x", "events/-1", "events/" + "1" * 5000, ""]
)
def test_an_invalid_origin_is_refused(origin: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected TOPIC or TOPIC/PARTITION"):
        Selection.parse((), origin)


def test_messages_without_dead_letter_headers_are_counted_apart() -> None:
    assert DeadLetterCounts(LETTERS[:3]).described == "3 dead letters"
    assert DeadLetterCounts(LETTERS).described == "3 dead letters and 1 other message"
    assert DeadLetterCounts([letter(1, None), letter(2, None)]).described == (
        "2 messages without dead-letter headers"
    )
    assert DeadLetterCounts(LETTERS).as_document() == {
        "http_400": 2,
        "(not a dead letter)": 1,
        "invalid_json": 1,
    }


@pytest.mark.parametrize(("due_ms", "taken"), [(None, False), (1, True), (2**45, False)])
def test_due_takes_only_what_a_limit_held_that_has_ended(due_ms: int | None, taken: bool) -> None:
    facts = Facts("held_limited", "d", "events", 0, 7, 0, "g", due_ms)
    headers = tuple(with_facts((), facts))
    letter = Letter(0, Record(3, 0, None, b"v", headers), restore(headers))
    assert LetterFilter.parse((), None, None, None, due=True).selection.takes(letter) is taken
    assert LetterFilter.parse((), None, None, None).selection.takes(letter)
