"""Messages that a destination limits or refuses alone."""

from __future__ import annotations

from tests.chaos.consumers import SESSION
from tests.chaos.receiver import ACCEPT, Answer, Request, response
from tests.chaos.rows import row
from tests.chaos.stage import MakeValue, Stage, envelope
from tests.support.processes import wait_until

_DAY_LIMIT = "X-Sentry-Rate-Limits: 86400:transaction:organization"
_LIMITED = Answer(response("429 Too Many Requests", _DAY_LIMIT), accepts=False)
_FAILS = Answer(response("500 Internal Server Error"), accepts=False)

_FIRST = 7
_PARTITIONS = 4
_HOLD_S = 8
_TRICKLE_PER_S = 50


@row
def always_failing(stage: Stage) -> None:
    """Envelopes that always get 500 hold back no other, and become dead letters, across a kill.

    Bound: what the killed one had delivered since its last commit
    """
    _hold_some(stage, 500, _FAILS)


@row
def limited_for_a_day(stage: Stage) -> None:
    """A limit of a day on transactions holds back no error; they become dead letters.

    Bound: what the killed one had delivered since its last commit
    """

    def value(name: bytes, partition: int, offset: int) -> bytes:
        made = envelope(name, partition, offset)
        return (
            made.replace(b'"type":"event"', b'"type":"transaction"')
            if offset % 100 == _FIRST
            else made
        )

    _hold_some(stage, 100, _LIMITED, value)


def _hold_some(stage: Stage, every: int, answer: Answer, value: MakeValue = envelope) -> None:
    """Others pass the held ones; a consumer that holds some is killed on the way."""
    count = stage.scaled(40_000, 4000)
    end = count // _PARTITIONS

    def script(request: Request) -> Answer:
        offset = int(request.event_id[-16:], 16)
        return answer if offset % every == _FIRST and offset < end else ACCEPT

    stage.upstream.script = script
    stage.arguments += (*SESSION, "--set", f"hold_at_most_s={_HOLD_S}")
    stage.fill(_PARTITIONS, count, value=value)
    held = len(range(_FIRST, end, every)) * _PARTITIONS
    stage.faults["messages to hold"] += held
    stage.dead_letters_expected = range(held, held + 1)
    stage.start(workers=2)
    stage.wait_for_accepted(count // 2)
    wait_until(
        lambda: any(each.metadata.open for each in stage.judge.commits().values()),
        timeout_s=60,
        what="a commit that names held messages",
    )
    stage.kill(stage.members[0])
    stage.start(workers=2)
    stage.wait_for_accepted(count - held)
    # A destination that accepts nothing for so long is down, and then nothing is a dead letter.
    with stage.feeding(3 * _HOLD_S * _TRICKLE_PER_S, _TRICKLE_PER_S):
        pass
    stage.finish()
