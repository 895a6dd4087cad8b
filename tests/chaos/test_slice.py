"""A minute of ``make chaos``: a few rows with few messages, always with the same seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import consumers, destinations, workers
from tests.chaos.receiver import ACCEPT, OK, Answer
from tests.chaos.rows import ROWS, Play, run
from tests.chaos.stage import Stage
from tests.support.kafka_broker import KafkaBroker

_SCALE = 0.025


@pytest.mark.parametrize(
    "play",
    [
        consumers.kills,
        consumers.rolling,
        workers.worker_deaths,
        destinations.half_answers,
        destinations.partial_limits,
        destinations.saas_down,
    ],
)
def test_the_row_s_promise_holds(kafka: KafkaBroker, play: Play) -> None:
    (row,) = (each for each in ROWS.values() if each.play is play)
    result = run(row, kafka, seed=1, scale=_SCALE)
    assert result.holds, result
    assert result.faults


def test_an_oracle_that_is_lied_to_notices_the_loss(kafka: KafkaBroker, tmp_path: Path) -> None:
    """The destination says that it accepted one message, which it did not."""
    with Stage(kafka, tmp_path, seed=1, scale=1) as stage:
        lie = Answer(OK, accepts=False)
        stage.upstream.script = lambda request: lie if request.event_id.endswith(b"07") else ACCEPT
        stage.fill(1, 20)
        stage.start()
        stage.finish()
        stage.judge.look()
        assert stage.judge.lost() == [(0, 7)]
        (problem,) = stage.judge.problems
        assert "ahead of 0@7" in problem
