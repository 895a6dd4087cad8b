"""Offsets as people write them."""

from __future__ import annotations

import time

import pytest

from consumer_fleet.errors import ConfigurationError
from consumer_fleet.kafka.offset_spec import EARLIEST, LATEST, OffsetSpec, parse_offset_spec

NOW_S = 1_800_000_000.0  # 2027-01-15T08:00:00Z


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("earliest", EARLIEST),
        (" latest ", LATEST),
        ("0", OffsetSpec("offset", 0)),
        ("12345678901", OffsetSpec("offset", 12_345_678_901)),
        ("2027-01-15T08:00", OffsetSpec("time", 1_800_000_000_000)),
        ("2027-01-15T08:00:00.250Z", OffsetSpec("time", 1_800_000_000_250)),
        ("2027-01-15 09:00+01:00", OffsetSpec("time", 1_800_000_000_000)),
        ("2027-01-15", OffsetSpec("time", 1_799_971_200_000)),
        ("-30s", OffsetSpec("time", 1_799_999_970_000)),
        ("-15m", OffsetSpec("time", 1_799_999_100_000)),
        ("-2h", OffsetSpec("time", 1_799_992_800_000)),
        ("-3d", OffsetSpec("time", 1_799_740_800_000)),
        ("-1w", OffsetSpec("time", 1_799_395_200_000)),
    ],
)
def test_each_form_means_one_place(text: str, place: OffsetSpec) -> None:
    assert parse_offset_spec(text, NOW_S) == place


def test_a_time_without_a_zone_is_utc_whatever_the_machines_zone_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert parse_offset_spec("2027-01-15T08:00", NOW_S) == OffsetSpec("time", 1_800_000_000_000)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_distances_are_places_only_for_those_who_stand_somewhere() -> None:
    assert parse_offset_spec("-100", NOW_S, relative=True) == OffsetSpec("relative", -100)
    assert parse_offset_spec("+5", NOW_S, relative=True) == OffsetSpec("relative", 5)
    assert parse_offset_spec("-5m", NOW_S, relative=True).kind == "time"
    for text in ("-100", "+5"):
        with pytest.raises(ConfigurationError):
            parse_offset_spec(text, NOW_S)


@pytest.mark.parametrize(
    "text", ["", "soon", "-", "1.5", "-15", "-15M", "2027-13-01", "\u0661", "9" * 30 + "-01-01"]
)
def test_what_is_no_place_lists_the_forms(text: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"is not a valid offset: use earliest, latest, an offset"
    ):
        parse_offset_spec(text, NOW_S)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("9223372036854775808", "is too large: the maximum is 9223372036854775807"),
        ("+9223372036854775808", "is too large"),
        ("-9223372036854775808", "is too large"),
        ("9" * 5000, "is too large"),
        ("-" + "9" * 5000 + "w", "is too large"),
        ("-9223372036854775808d", "is too large"),
        ("-99999999999999d", "is before 1970"),
        ("-9223372036854775807w", "is before 1970"),
        ("1969-12-31T23:59:59Z", "is before 1970"),
        ("0001-01-01T00:00+23:00", "is not a valid offset"),
        ("9999-12-31T23:59-05:00", "is not a valid offset"),
    ],
)
def test_what_kafka_can_not_count_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_offset_spec(text, NOW_S, relative=True)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    "text", ["9223372036854775807", "-9223372036854775807", "1970-01-01", "9999-12-31T23:59"]
)
def test_all_that_kafka_can_count_is_a_place(text: str) -> None:
    assert str(parse_offset_spec(text, NOW_S, relative=True)).startswith(text)


@pytest.mark.parametrize("text", ["earliest", "latest", "17", "2027-01-15T08:00:00+00:00"])
def test_a_place_is_shown_as_it_may_be_written(text: str) -> None:
    assert str(parse_offset_spec(text, NOW_S)) == text
    assert str(OffsetSpec("relative", 5)) == "+5"
