"""The headers of a dead letter: only what was written is read back."""

from __future__ import annotations

import pytest

from consumer_fleet.dead_letter_headers import Facts, restore, with_facts

FIRST = Facts("invalid_json", "line 1", "events", 3, 41, 1_700_000_000_123, "my-group")
SECOND = Facts("http_400", "", "events-dlq", 0, 7, None, "other")
OWN = (("a", b"1"), ("a", None), ("dlq.reason", b"someone else's"))


@pytest.mark.parametrize("facts", [FIRST, SECOND])
@pytest.mark.parametrize("own", [(), OWN, (("dlq.topic", b"x"), ("dlq.offset", b"1"))])
def test_a_dead_letter_gets_its_own_headers_back(facts: Facts, own: object) -> None:
    restored = restore(with_facts(own, facts))  # type: ignore[arg-type]  # parametrized
    assert restored is not None
    assert list(restored.headers) == list(own)  # type: ignore[call-overload]  # as above
    assert restored.last == restored.origin == facts


def test_one_that_was_rejected_twice_came_from_where_it_was_first() -> None:
    restored = restore(with_facts(with_facts(OWN, FIRST), SECOND))
    assert restored is not None
    assert list(restored.headers) == list(OWN)
    assert (restored.last, restored.origin) == (SECOND, FIRST)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        OWN,
        # Not at the end.
        (*with_facts((), FIRST), ("after", b"")),
        # One is missing or invalid.
        [each for each in with_facts((), FIRST) if each[0] != "dlq.topic"],
        [each for each in with_facts((), FIRST) if each[0] != "dlq.offset"],
        [("dlq.reason", b"r"), ("dlq.topic", b"t"), ("dlq.partition", b"-1"), ("dlq.offset", b"1")],
        [("dlq.reason", b"r"), ("dlq.topic", b"t"), ("dlq.partition", b"1"), ("dlq.offset", None)],
        [("dlq.reason", b""), ("dlq.topic", b"t"), ("dlq.partition", b"1"), ("dlq.offset", b"1")],
        # Somebody else's.
        [("dlq.reason", b"r"), ("dlq.topic", b"t"), ("dlq.attempts", b"3")],
        [*with_facts((), FIRST)[:3], ("dlq.topic", b"t"), *with_facts((), FIRST)[3:]],
    ],
)
def test_what_is_no_whole_set_of_ours_at_the_end_is_no_dead_letter(headers: object) -> None:
    assert restore(headers) is None  # type: ignore[arg-type]  # parametrized


def test_an_offset_of_any_length_does_not_stop_the_reading() -> None:
    huge = [("dlq.reason", b"r"), ("dlq.topic", b"t"), ("dlq.partition", b"1")]
    assert restore([*huge, ("dlq.offset", b"9" * 5000)]) is None


def test_headers_that_came_over_a_workers_pipe_are_read_alike() -> None:
    restored = restore([list(each) for each in with_facts(OWN, FIRST)])  # type: ignore[misc]  # as msgpack gives them
    assert restored is not None
    assert restored.origin == FIRST


def test_a_detail_is_cut_and_half_a_surrogate_pair_is_escaped() -> None:
    restored = restore(with_facts((), FIRST._replace(detail="\ud800" + "x" * 5000)))
    assert restored is not None
    assert restored.last.detail == "\\ud800" + "x" * 999
