"""A report of ``consumer status``: figures, issues, rows, JSON."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from consumer_fleet.humanize import short_duration, short_number, sparkline
from consumer_fleet.kafka.groups import Group, Member
from consumer_fleet.kafka.open_offsets import CommitMetadata
from consumer_fleet.kafka.retention import Loss, Retention
from consumer_fleet.status.history import History
from consumer_fleet.status.report import (
    ConsumerStatus,
    DeadLetterCount,
    Judge,
    PartitionStatus,
    Report,
    notes,
)
from consumer_fleet.status.table import count, document, render
from consumer_fleet.targets import Target

NOW_S = 1_700_000_000.0
HOUR_S = 3600.0


def row(
    index: int = 0,
    *,
    start: int = 0,
    end: int = 100,
    committed: int | None = 40,
    hours_old: float | None = None,
    **others: object,
) -> PartitionStatus:
    oldest_ms = None if hours_old is None else int((NOW_S - hours_old * HOUR_S) * 1000)
    made = PartitionStatus(index, start, end, committed, "member-0", 0.0, oldest_ms)
    return replace(made, **others)  # type: ignore[arg-type]  # checked by the dataclass


def member(number: int, *indexes: int, topic: str = "events") -> Member:
    spots = frozenset((topic, index) for index in indexes)
    return Member(f"member-{number}", "client", "/10.0.0.1", None, spots)


def status(
    *rows: PartitionStatus,
    state: str = "stable",
    members: tuple[Member, ...] = (member(0, 0),),
    partitions: int | None = None,
    name: str = "events",
) -> ConsumerStatus:
    group = Group(f"consumer-fleet-{name}", state, "classic", members)
    count_ = len(rows) if partitions is None else partitions
    target = Target(name, group.name, name)
    return ConsumerStatus(target, group, count_, rows, Retention(10 * 3_600_000, None))


def report(*statuses: ConsumerStatus) -> Report:
    return Report(NOW_S, statuses)


def kinds(one: ConsumerStatus, *named: str) -> list[str]:
    found = Judge(300.0, frozenset(named)).issues(report(one))
    return [issue.kind for issue in found]


def text_of(one: Report, *, width: int = 80, partitions: bool = True) -> str:
    out = io.StringIO()
    found = Judge(300.0).issues(one)
    console = Console(file=out, width=width)
    console.print(render(one, found, notes(one, found), partitions=partitions), crop=False)
    return out.getvalue()


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (999, "999"), (1000, "1.0k"), (12_345, "12k"), (2_500_000, "2.5M"), (1e16, "lots")],
)
def test_a_short_number_is_four_characters_at_most(number: float, shown: str) -> None:
    assert short_number(number) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.9, "0s"), (59.9, "59s"), (60, "1.0m"), (5 * HOUR_S + 1799, "5.4h"), (86_400 * 365, "365d")],
)
def test_a_short_duration_is_never_longer_than_the_time(seconds: float, shown: str) -> None:
    assert short_duration(seconds) == shown


def test_what_waits_is_what_is_still_there_and_the_lag_is_as_kafkas_tool_has_it() -> None:
    gone = row(start=70, end=100, committed=40)
    assert (gone.lag, gone.waiting, gone.lost) == (60, 30, 30)
    never = row(start=70, end=100, committed=None)
    assert (never.lag, never.waiting, never.lost) == (None, 30, 0)
    beyond = row(end=100, committed=120)
    assert (beyond.lag, beyond.waiting, beyond.past_end) == (-20, 0, True)


def test_a_healthy_consumer_has_no_issues() -> None:
    assert kinds(status(row(hours_old=0.05, loss=Loss(9.9 * HOUR_S, "time")))) == []
    assert kinds(status(row(committed=100))) == []


def test_each_thing_that_is_wrong_is_found() -> None:
    assert kinds(status(row(start=70, committed=40))) == ["lost"]
    assert kinds(status(row(committed=120))) == ["lost"]
    assert kinds(status(row(hours_old=0.01, loss=Loss(3599, "time")))) == ["at_risk"]
    assert kinds(status(row(hours_old=0.01, loss=Loss(3601, "time")))) == []
    assert kinds(status(row(hours_old=0.1))) == ["stalled"]
    assert kinds(status(row(hours_old=0.1, rate=3.0))) == [], "late, but it moves"
    assert kinds(status(row(hours_old=0.1), state="empty", members=())) == ["stopped"]
    assert kinds(status(row(hours_old=0.01), state="empty", members=())) == []
    assert kinds(status(row(owner=None))) == ["unowned"]
    assert kinds(status(row(owner=None), state="preparing-rebalancing")) == []
    assert kinds(status(row(), partitions=2)) == ["no_leader"]
    assert kinds(status(partitions=0), "events") == ["no_topic"]
    assert kinds(status(partitions=0)) == [], "a topic that nobody asked for may be missing"


def test_the_worst_issue_is_first() -> None:
    one = status(row(0, owner=None, committed=100), row(1, start=70, hours_old=1.0))
    assert kinds(one) == ["lost", "stalled", "unowned"]


def test_members_of_another_topic_are_not_idle_and_not_counted() -> None:
    one = status(row(0), row(1), members=(member(0, 0, 1), member(1), member(2, 5, topic="other")))
    assert (one.members, one.idle_members) == (2, 1)
    assert "events: 1 of 2 members idle, as the topic has 2 partitions." in notes(report(one))


def test_nobody_has_waited_where_nobody_has_begun() -> None:
    one = status(row(committed=None, owner=None), state="absent", members=())
    assert (one.has_run, one.waiting, one.lag, one.lag_s(NOW_S)) == (False, None, None, None)
    assert "never ran" in text_of(report(one))
    caught_up = status(row(committed=100))
    assert (caught_up.waiting, caught_up.lag_s(NOW_S)) == (0, 0.0)


def test_every_line_fits_into_eighty_columns_however_large_the_figures_are() -> None:
    huge = row(
        7,
        start=10**15,
        end=10**15 + 987_654_321,
        committed=10**15 + 5,
        hours_old=24 * 3000,
        rate=1_234_567.0,
        loss=Loss(86_400.0 * 900, "size"),
    )
    name = "a-consumer-with-a-very-long-name-indeed"
    one = status(*(huge, replace(huge, owner=None)), name=name, members=(member(0, 7), member(1)))
    shown = text_of(
        Report(
            NOW_S,
            (one, status(name="x", partitions=0)),
            {"t" * 70: 10**9},
            {"y-dlq": DeadLetterCount(1, 2)},
        )
    )
    assert max(map(len, shown.splitlines())) <= 80
    assert "~900d" in shown
    assert "a-consumer-with-a-very-…" in shown


@pytest.mark.parametrize("width", [20, 30, 40, 41, 50, 60, 70, 79])
def test_a_narrow_terminal_has_fewer_columns_and_shorter_names_but_no_cut_figure(
    width: int,
) -> None:
    late = row(
        12,
        end=199_100,
        committed=100,
        hours_old=5.5,
        rate=1234.0,
        loss=Loss(7200, "size"),
    )
    name = "a-consumer-with-a-very-long-name"
    one = report(status(late, name=name, members=(member(0, 12), member(1))))

    def table(width: int, *, partitions: bool) -> list[str]:
        return text_of(one, width=width, partitions=partitions).splitlines()[: 2 + partitions]

    for partitions in (False, True):
        wide = {word for line in table(200, partitions=partitions) for word in line.split()}
        found = table(width, partitions=partitions)
        words = [word for line in found for word in line.split()]
        assert [word for word in words if word not in wide and not word.endswith("…")] == []
        assert {"LAG", "BEHIND", "199,000", "5.5h"} <= set(words)
        assert "…" not in found[0]
        assert found[1].count("…") == 1, "the name"
        assert max(map(len, found)) <= max(width, 41)
    assert "LOSS" in table(60, partitions=False)[0]


def test_the_place_of_a_partition_is_never_cut() -> None:
    for committed, end in ((12_345_678, 12_345_999), (10**15, 10**15 + 7), (5, 7)):
        shown = text_of(report(status(row(3, committed=committed, end=end))))
        assert f"  3: {committed} " in shown
        assert f" of {end} " in shown or "of" not in shown


def test_consumers_without_a_topic_are_noted_below_the_table_unless_all_are() -> None:
    missing = status(partitions=0, members=(), state="absent", name="profiles")
    shown = text_of(report(status(row()), missing), partitions=False)
    assert "no topic" not in shown
    assert "Topics that do not exist on this cluster: profiles." in shown
    held = replace(missing, group=replace(missing.group, members=(member(0),)))
    for one in (report(missing), report(status(row()), held)):
        rows = [line.split("  ") for line in text_of(one).splitlines()]
        assert any({"profiles", "no topic"} <= {cell.strip() for cell in cells} for cells in rows)


def test_the_column_of_loss_distinguishes_lost_due_and_estimated() -> None:
    def cell(one: PartitionStatus) -> str:
        return text_of(report(status(one)), partitions=False).splitlines()[1].split()[-1]

    assert cell(row(start=70)) == "LOST"
    assert cell(row(loss=Loss(0, "time"))) == "due"
    assert cell(row(loss=Loss(7200, "time"))) == "2.0h"
    assert cell(row(loss=Loss(7200, "size"))) == "~2.0h"
    assert cell(row()) == "-"


def test_figures_are_exact_where_they_fit() -> None:
    assert [count(n) for n in (None, 0, 999_999, 1_000_000)] == ["-", "0", "999,999", "1.0M"]


def test_the_document_has_the_names_that_the_documentation_promises() -> None:
    one = report(status(row(start=70, hours_old=1.0, loss=Loss(9 * HOUR_S, "time"))))
    found = json.loads(json.dumps(document(one, Judge(300.0).issues(one), notes(one))))
    assert found.keys() == {
        *("at", "consumers", "findings", "unread", "dead_letters", "dead_letters_held", "notes")
    }
    (consumer,) = found["consumers"]
    assert consumer.keys() == {
        *("consumer", "group", "topic", "topic_exists", "state", "protocol", "members"),
        *("idle_members", "unowned_partitions", "lag", "waiting", "lost", "lag_s"),
        *("rate_per_s", "time_to_loss_s", "time_to_loss_by", "retention", "partitions"),
        *("causes", "skipped"),
    }
    (partition,) = consumer["partitions"]
    assert partition.keys() == {
        *("partition", "start", "end", "committed", "lag", "waiting", "lost", "out_of_range"),
        *("owner", "oldest", "lag_s", "rate_per_s", "time_to_loss_s", "time_to_loss_by"),
        *("held", "held_why"),
    }
    assert consumer["time_to_loss_s"] == 9 * HOUR_S
    assert partition["oldest"] == "2023-11-14T21:13:20.000+00:00"
    issue = found["findings"][0]
    names = {"kind", "name", "group", "topic", "partitions", "text", "command", "causes"}
    assert issue.keys() == names
    assert issue["command"] == (
        "consumer offsets reset --group consumer-fleet-events --topic events --to earliest"
    )


def test_a_held_message_is_named_and_what_has_passed_it_does_not_wait() -> None:
    held = CommitMetadata("", 90, frozenset({40, 45}), "failing upstream HTTP 500: boom")
    made = row(held=held)
    assert (made.lag, made.waiting) == (60, 12)
    (note,) = notes(report(status(made)))
    assert note == (
        "events: 2 messages held, others pass: events/0 at offset 40: upstream fails on it: "
        "HTTP 500: boom"
    )


def test_skipped_messages_of_all_partitions_are_shown_by_reason() -> None:
    found = [CommitMetadata(skipped=each) for each in ({"circle": 1500}, {"circle": 1, "a\x1b": 2})]
    one = report(status(row(0, committed=100, held=found[0]), row(1, committed=100, held=found[1])))
    assert document(one, [], [])["consumers"][0]["skipped"] == {"circle": 1501, "a\x1b": 2}
    (note,) = notes(one)
    assert note.startswith("events: skipped since the partitions were assigned: circle 1,501, a")
    assert "\x1b" not in note


def test_a_partition_without_progress_is_shown_with_its_cause_once() -> None:
    held = CommitMetadata("", 90, frozenset({40}), "failing upstream HTTP 500: a\x1b[2Jb")
    one = report(status(row(hours_old=1.0, held=held), row(1, committed=100)))
    (issue,) = Judge(300.0).issues(one)
    (cause,) = issue.causes
    assert cause[:5] == ("events", 0, 40, "failing", "upstream")
    shown = " ".join(text_of(one).split())
    assert shown.count("events/0 at offset 40: upstream fails on it: HTTP 500: a") == 1
    assert "\x1b" not in shown, "an answer moves no cursor"
    assert notes(one, [issue]) == []


def test_a_partition_without_progress_and_a_known_cause_names_the_member_whose_log_has_it() -> None:
    (issue,) = Judge(300.0).issues(report(status(row(hours_old=1.0))))
    assert issue.text.endswith("has been waiting for 1.0h; see the log of client on 10.0.0.1")
    assert issue.causes == ()


def test_a_message_that_was_given_up_at_a_stop_names_no_destination() -> None:
    (cause,) = status(row(held=CommitMetadata("", 90, frozenset({40})))).causes
    assert str(cause) == "events/0 at offset 40: not delivered before a stop, and read again"


def history_of(*figures: tuple[int, float], name: str = "events") -> tuple[Report, History]:
    history = History(100)
    for waiting, rate in figures:
        one = report(status(row(end=40 + waiting, rate=rate), name=name))
        history.add(one)
    return one, history


def trends(width: int, *figures: tuple[int, float], name: str = "events") -> list[str]:
    out = io.StringIO()
    one, history = history_of(*figures, name=name)
    Console(file=out, width=width).print(render(one, [], [], history=history), crop=False)
    return out.getvalue().splitlines()


def test_trends_show_the_last_samples_of_lag_and_rate() -> None:
    _, cells = trends(120, (0, 0.0), (350, 10.0), (700, 5.0))
    assert cells.split()[3:5] == ["700", "▁▅█"]
    assert cells.split()[-2] == "▁█▅"
    _, last = trends(120, *[(1, 1.0)] * 30, (0, 0.0))
    assert last.count("█" * 19 + "▁") == 2, "the last twenty"


@pytest.mark.parametrize("width", [60, 72, 80, 100, 120])
@pytest.mark.parametrize("name", ["events", "ingest-replay-recordings"])
def test_trends_take_only_the_room_that_figures_leave(width: int, name: str) -> None:
    head, cells = trends(width, *[(274_099, 1229.0)] * 30, name=name)
    assert max(len(head), len(cells)) <= width
    assert {"274,099", "1,229"} <= set(cells.split())
    if width >= 80:
        assert head.count("TREND") == 2


def test_a_consumer_that_is_gone_has_no_trend() -> None:
    one, history = history_of((1, 1.0))
    history.add(report())
    assert history.of(one.consumers[0]) == ()


def test_a_sparkline_reaches_from_zero_to_its_largest_value() -> None:
    assert sparkline([0, 5, 10], 3) == "▁▅█"
    assert sparkline([7, 7], 9) == "██"
    assert sparkline([0, None, 0], 9) == "▁ ▁"
    assert sparkline([9, 1, 1], 2) == "██"
