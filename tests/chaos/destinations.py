"""Destinations that fail in every way that HTTP has."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from consumer_fleet.capture.envelope import parse
from tests.chaos.receiver import (
    ACCEPT,
    OK,
    Answer,
    EventId,
    Receiver,
    Request,
    Script,
    Then,
    response,
    share_of,
)
from tests.chaos.rows import row, waiting_row
from tests.chaos.stage import Stage
from tests.support.processes import wait_until

_MESSAGES = 20_000
UNAVAILABLE = Answer(response("503 Service Unavailable"), accepts=False)


@row
def server_errors(stage: Stage) -> None:
    """Answers of 500 to 504, before and after the request was taken, lose nothing.

    Bound: each error after acceptance
    """
    statuses = ("500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable")
    _fail_some(stage, 0.1, [Answer(response(each), accepts=a) for each in statuses for a in _BOTH])


@row
def resets(stage: Stage) -> None:
    """Connections that are reset or closed, before and after the request was taken, lose nothing.

    Bound: each one after acceptance
    """
    ways = (Then.RESET, Then.CLOSE)
    _fail_some(stage, 0.1, [Answer(b"", accepts=a, then=then) for then in ways for a in _BOTH])


@row
def half_answers(stage: Stage) -> None:
    """Answers that end within their head or their body lose nothing.

    Bound: each one, since all were accepted
    """
    cuts = (1, 15, len(OK) // 2, OK.index(b"\r\n\r\n"), OK.index(b"\r\n\r\n") + 4, len(OK) - 1)
    ways = (Then.RESET, Then.CLOSE)
    answers = [Answer(OK[:cut], accepts=True, then=then) for cut in cuts for then in ways]
    _fail_some(stage, 0.1, answers)


@waiting_row
def stalls(stage: Stage) -> None:
    """Requests that are never answered, wholly or from the middle of an answer on, lose nothing.

    Bound: each one after acceptance
    """
    stage.arguments += ("--set", "request_timeout_s=2", "--set", "connect_timeout_s=2")
    cuts = [Answer(OK[:cut], accepts=True, then=Then.STALL) for cut in (0, 20, len(OK) - 1)]
    _fail_some(stage, 0.005, [*cuts, Answer(b"", accepts=False, then=Then.STALL)])


@waiting_row
def slow_answers(stage: Stage) -> None:
    """Answers at 10 bytes a second are waited for, and hold back no other message.

    Bound: 0
    """
    _fail_some(stage, 0.002, [ACCEPT._replace(bytes_per_s=10)])


@waiting_row
def wrong_dsn(stage: Stage) -> None:
    """A destination that answers 401 for two minutes pauses; nothing is lost or dead-lettered.

    Bound: 0
    """
    refusal = Answer(response("401 Unauthorized"), accepts=False)
    _with_outage(stage, stage.upstream, refusal, stage.scaled(120, 4))


@row
def partial_limits(stage: Stage) -> None:
    """A 429 for one category repeats only the items of that category.

    Bound: 0
    """
    taken: dict[EventId, Counter[str]] = {}
    # 20 of 500, and 100 of 20,000.
    share = max(0.005, 20 / stage.scaled(_MESSAGES))
    stage.upstream.script = lambda request: _partly(stage, share, taken, request)
    stage.fill(4, stage.scaled(_MESSAGES), value=_several_items)
    stage.start(workers=2)
    stage.finish()
    repeated = sum(any(count > 1 for count in parts.values()) for parts in taken.values())
    if repeated:
        stage.judge.problems.append(f"items of {repeated} envelopes were accepted twice")


@waiting_row
def saas_down(stage: Stage) -> None:
    """While a required second destination is down, upstream gets nothing twice, and neither loses.

    Bound: 0
    """
    saas = _second(stage, "required")
    _with_outage(stage, saas, UNAVAILABLE, stage.scaled(30, 4), required=[stage.upstream, saas])


@row
def saas_best_effort(stage: Stage) -> None:
    """A second destination that is best effort and down holds nothing back.

    Bound: 0
    """
    saas = _second(stage, "best-effort")
    saas.script = lambda _request: UNAVAILABLE
    stage.fill(4, stage.scaled(_MESSAGES))
    stage.start(workers=2)
    stage.finish()
    stage.faults["failed requests"] += saas.failed


_BOTH = (False, True)


def _second(stage: Stage, delivery: str) -> Receiver:
    saas = stage.add_receiver("saas")
    stage.arguments += ("--saas-dsn", saas.dsn(), "--set", "store_use_relay_dsn_sample_rate=1")
    stage.arguments += ("--set", f"saas_delivery={delivery}")
    return saas


def failing(seed: int, share: float, answers: list[Answer]) -> Script:
    """Give that share of the attempts one of the answers; the seed decides."""

    def script(request: Request) -> Answer:
        drawn = share_of(seed, request)
        return answers[int(drawn / share * len(answers))] if drawn < share else ACCEPT

    return script


def _fail_some(stage: Stage, share: float, answers: list[Answer]) -> None:
    stage.upstream.script = failing(stage.seed, share, answers)
    stage.fill(4, stage.scaled(_MESSAGES))
    stage.start(workers=2)
    # A message that fails three times is held, and tried again after 5, 10, 20, … s.
    stage.finish(240)
    stage.faults["failed requests"] += stage.upstream.failed
    stage.bound = stage.upstream.ambiguous


def _with_outage(
    stage: Stage,
    receiver: Receiver,
    answer: Answer,
    seconds: float,
    required: list[Receiver] | None = None,
) -> None:
    """Refuse every request for a while, from a third of the messages on."""
    stage.fill(4, stage.scaled(_MESSAGES), required=required)
    third = stage.ledger.messages // 3
    is_down = threading.Event()
    receiver.script = lambda _: answer if is_down.is_set() else _ends(receiver, third, is_down)
    stage.start(workers=2)
    wait_until(is_down.is_set, timeout_s=60, what="the outage to start")
    time.sleep(seconds)
    receiver.script = lambda _: ACCEPT
    stage.finish()
    stage.faults["failed requests"] += receiver.failed


def _ends(receiver: Receiver, moment: int, is_down: threading.Event) -> Answer:
    if receiver.distinct >= moment:
        is_down.set()
    return ACCEPT


_HEADER: Callable[[str], str] = "X-Sentry-Rate-Limits: 0.3:{}:key".format
# Relay drops attachments along with their event.
_DROPPED_WITH = {"error": {"event", "attachment"}, "attachment": {"attachment"}}
_DROPPED_WITH["session"] = {"session"}


def _partly(
    stage: Stage, share: float, taken: dict[EventId, Counter[str]], request: Request
) -> Answer:
    """Accept all items but those of one category, for this share of first attempts."""
    types = {item.type for item in parse(request.body).items}
    answer = ACCEPT
    drawn = share_of(stage.seed, request)
    if request.attempt == 1 and drawn < share:
        category = sorted(_DROPPED_WITH)[int(drawn / share * len(_DROPPED_WITH))]
        types -= _DROPPED_WITH[category]
        answer = Answer(response("429 Too Many Requests", _HEADER(category)), accepts=False)
        stage.faults["partial 429"] += 1
    parts = taken.setdefault(request.event_id, Counter())
    parts.update(types)
    is_complete = parts.keys() == {"event", "attachment", "session"}
    return answer if answer.accepts is is_complete else answer._replace(accepts=is_complete)


def _several_items(name: bytes, _partition: int, _offset: int) -> bytes:
    event = b'{"event_id":"%b","message":"m"}' % name
    session = b'{"sid":"%b","status":"ok","started":"2026-01-01T00:00:00Z"}' % name
    items = [(b"event", event), (b"attachment", b"some bytes"), (b"session", session)]
    lines = [b'{"event_id":"%b"}' % name]
    for kind, payload in items:
        lines += [b'{"type":"%b","length":%d}' % (kind, len(payload)), payload]
    return b"\n".join([*lines, b""])
