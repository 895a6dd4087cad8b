"""``consumer status --serve``: the fleet view of a whole cluster, from what Kafka knows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from time import time

import click

from consumer_fleet.errors import KafkaUnreachable
from consumer_fleet.inspector.fleet import (
    ConsumerView,
    FleetBoard,
    FleetView,
    HeldBack,
    LagTrend,
    PartitionView,
    Severity,
)
from consumer_fleet.inspector.fleet_server import FleetServer
from consumer_fleet.run.shutdown import Shutdown
from consumer_fleet.status.report import (
    Cause,
    ConsumerStatus,
    Issue,
    Judge,
    Kind,
    PartitionStatus,
    Report,
)
from consumer_fleet.status.sampler import Sampler
from consumer_fleet.status.table import state_word
from consumer_fleet.status.watch import Sampling
from consumer_fleet.targets import DEAD_LETTER_SUFFIX

_STOP_TIMEOUT_S = 10.0
_WAIT_S = 0.2
_WARNINGS: frozenset[Kind] = frozenset({"unowned", "no_topic"})


class Serving:
    """Publishes what ``Sampling`` finds."""

    def __init__(self, sampler: Sampler, judge: Judge, interval_s: float) -> None:
        self._sampler = sampler
        self._judge = judge
        self._sampling = Sampling(sampler, self._publish, interval_s)
        self._board = FleetBoard()
        self._trends: defaultdict[tuple[str, str], LagTrend] = defaultdict(LagTrend)

    def run(self, address: str) -> None:
        """Block until a signal. Raises any error but an absence of Kafka, which may pass."""
        shutdown = Shutdown(_STOP_TIMEOUT_S)
        with shutdown.signals(), FleetServer(self._board, address) as server:
            self._sampling.start()
            click.echo(f"Serving the fleet view\n  Page  {server.url}")
            while self._sampling.error is None and not shutdown.requested:
                shutdown.wait(_WAIT_S)
            self._sampling.stop()
        if self._sampling.error is not None:
            raise self._sampling.error

    def _publish(self) -> None:
        self._board.publish(self.look())

    def look(self) -> FleetView:
        """What is known now; without Kafka, what was known last, and the problem."""
        try:
            report = self._sampler.sample()
        except KafkaUnreachable as error:
            problem = f"No connection to Kafka: {error}"
            latest = self._board.latest
            known = FleetView(time(), ()) if latest is None else latest.view
            return replace(known, at_s=time(), problem=problem)
        issues = self._judge.issues(report)
        shown = [
            self._consumer(status, report, issues)
            for status in report.consumers
            if status.has_run or status.target.name in self._judge.named
        ]
        nothing = None if shown else "No consumer has run on this cluster yet."
        return FleetView(report.at_s, tuple(shown), problem=nothing)

    def _consumer(
        self, status: ConsumerStatus, report: Report, issues: list[Issue]
    ) -> ConsumerView:
        target = status.target
        own = [each for each in issues if (each.group, each.topic) == (target.group, target.topic)]
        texts = [f"{each.kind.replace('_', ' ')}: {each.text}" for each in own]
        texts += [f"held back: {cause}" for cause in status.causes]
        rate = status.rate
        arriving = self._trends[target.group, target.topic].note(report.at_s, status.waiting, rate)
        if arriving is not None:
            texts.append(f"lag grows: {arriving:,.0f}/s arrive, {rate or 0:,.0f}/s are settled")
        severity: Severity = 1 if texts else 0
        if any(each.kind not in _WARNINGS for each in own):
            severity = 2
        letters = report.dead_letters.get(f"{target.topic}{DEAD_LETTER_SUFFIX}")
        causes = {cause.partition: cause for cause in status.causes}
        return ConsumerView(
            name=target.name,
            topic=target.topic,
            group=target.group,
            state=_state(status, texts),
            severity=severity,
            causes=tuple(texts),
            lag=status.waiting,
            rate=rate,
            dead_lettered=None if letters is None else letters.held,
            oldest_s=status.lag_s(report.at_s),
            time_to_loss_s=None if status.loss is None else status.loss.seconds,
            partitions=tuple(
                _partition(row, causes.get(row.index), report.at_s) for row in status.rows
            ),
        )


def _state(status: ConsumerStatus, texts: list[str]) -> str:
    return texts[0].partition(":")[0] if texts else state_word(status)


def _partition(row: PartitionStatus, cause: Cause | None, now_s: float) -> PartitionView:
    held_back = None
    if cause is not None:
        answer = cause.answer or "not delivered before a stop, and read again"
        kind = f" ({cause.kind})" if cause.kind else ""
        held_back = HeldBack(cause.offset, cause.destination or None, f"{answer}{kind}")
    return PartitionView(
        index=row.index,
        committed=row.committed,
        end=row.end,
        lag=row.waiting,
        held=len(row.held.open),
        oldest_s=row.lag_s(now_s),
        time_to_loss_s=None if row.loss is None else row.loss.seconds,
        owner=row.owner,
        held_back=held_back,
    )
