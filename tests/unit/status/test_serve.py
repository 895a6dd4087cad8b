"""The fleet view of a cluster: what Kafka knows of each consumer, and what is unknown."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from consumer_fleet.errors import KafkaUnreachable
from consumer_fleet.inspector.fleet import ConsumerView, HeldBack
from consumer_fleet.kafka.open_offsets import CommitMetadata
from consumer_fleet.status.report import DeadLetterCount, Judge, Report
from consumer_fleet.status.sampler import Sampler
from consumer_fleet.status.serve import Serving
from tests.unit.status.test_report import NOW_S, report, row, status


class Answers:
    """A sampler that gives these in turn."""

    def __init__(self, *answers: Report | KafkaUnreachable) -> None:
        self._answers = list(answers)

    def sample(self) -> Report:
        answer = self._answers.pop(0)
        if isinstance(answer, KafkaUnreachable):
            raise answer
        return answer


def serving(*answers: Report | KafkaUnreachable, named: frozenset[str] = frozenset()) -> Serving:
    return Serving(cast(Sampler, Answers(*answers)), Judge(300.0, named), 1.0)


def view_of(one: Report) -> ConsumerView:
    (found,) = serving(one).look().consumers
    return found


def test_a_healthy_consumer_has_its_figures_and_no_cause() -> None:
    found = view_of(report(status(row(end=100, committed=100, rate=7.0))))
    assert (found.state, found.severity, found.causes) == ("stable", 0, ())
    assert (found.lag, found.rate, found.oldest_s) == (0, 7.0, 0.0)
    assert (found.delivered, found.filtered) == (None, None)


def test_an_issue_is_the_state_and_says_why() -> None:
    found = view_of(report(status(row(hours_old=1.0), members=(), state="empty")))
    assert (found.state, found.severity) == ("stopped", 2)
    assert found.causes[0].startswith("stopped: no active members")
    assert found.oldest_s == 3600.0


def test_the_message_that_holds_a_partition_back_is_named_with_its_answer() -> None:
    held = CommitMetadata("", 90, frozenset({40, 41}), "failing upstream HTTP 500: no shard")
    found = view_of(report(status(row(end=100, committed=40, held=held))))
    assert (found.state, found.severity) == ("held back", 1)
    assert "events/0 at offset 40" in found.causes[0]
    (partition,) = found.partitions
    assert partition.held == 2
    assert partition.held_back == HeldBack(40, "upstream", "HTTP 500: no shard (failing)")


def test_lag_that_grows_says_how_much_arrives() -> None:
    samples = [
        replace(report(status(row(end=100 + 50 * number, rate=10.0))), at_s=NOW_S + number)
        for number in range(3)
    ]
    watching = serving(*samples)
    for _ in samples:
        (found,) = watching.look().consumers
    assert found.causes == ("lag grows: 60/s arrive, 10/s are settled",)


def test_dead_letters_are_those_in_the_topic() -> None:
    one = replace(report(status(row())), dead_letters={"events-dlq": DeadLetterCount(2, 5)})
    assert view_of(one).dead_lettered == 5


def test_a_consumer_that_never_ran_is_shown_only_if_it_is_named() -> None:
    never = report(status(row(committed=None), members=(), state="absent"))
    hidden = serving(never).look()
    assert (hidden.consumers, hidden.problem) == ((), "No consumer has run on this cluster yet.")
    assert len(serving(never, named=frozenset({"events"})).look().consumers) == 1


def test_without_kafka_the_page_says_so() -> None:
    gone = serving(KafkaUnreachable("no broker answered")).look()
    assert gone.problem == "No connection to Kafka: no broker answered"
