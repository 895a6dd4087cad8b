"""What a destination's answer means for the envelope and for the destination."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Final

import structlog

from consumer_fleet.capture.http_posts import Answer

# They speak of the DSN, the address or the proxy, never of the envelope.
_REFUSALS: Final = frozenset({401, 403, 404, 405, 407})
_TRY_LATER: Final = frozenset({408, 425})
_DETAIL_CHARACTERS: Final = 300

_CHECK_ADDRESS: Final = "check the host, the path and the project id of its DSN"
_ADVICE: Final = {
    401: "check the key in its DSN",
    403: "check that the project is enabled and that its DSN's key is active",
    404: _CHECK_ADDRESS,
    405: _CHECK_ADDRESS,
    407: "give the proxy's user and password in the environment (https_proxy)",
}


class Verdict(Enum):
    """Every answer is exactly one of these."""

    ACCEPTED = auto()
    LATER = auto()  # no answer, or the server has a problem: the same envelope again
    LIMITED = auto()
    REFUSED = auto()  # the destination takes nothing from us until somebody mends it
    REJECTED = auto()  # this envelope is bad, the next may be fine


def judge(status: int) -> Verdict:
    """Classify a status; 0 stands for no answer."""
    if 200 <= status < 300:
        return Verdict.ACCEPTED
    if status == 429:
        return Verdict.LIMITED
    # Redirects are not followed: the key would go to whoever the answer names.
    if 300 <= status < 400 or status in _REFUSALS:
        return Verdict.REFUSED
    if 400 <= status < 500 and status not in _TRY_LATER:
        return Verdict.REJECTED
    return Verdict.LATER


def advice(status: int) -> str:
    """What a person can do about a refusal."""
    if 300 <= status < 400:
        return "it answers with a redirect, which is not followed: use the final address in its DSN"
    return _ADVICE.get(status, _CHECK_ADDRESS)


def describe(answer: Answer, secrets: tuple[str, ...]) -> str:
    """An answer in one short line for a person, without the given keys."""
    if answer.status == 0:
        return answer.error
    text = " ".join(answer.body.decode("utf-8", "replace").split())
    for secret in secrets:
        text = text.replace(secret, "***")
    if len(text) > _DETAIL_CHARACTERS:
        text = text[:_DETAIL_CHARACTERS] + "…"
    return text or "(empty answer)"


log = structlog.get_logger(__name__)

_INTERVAL_S = 60.0


class TroubleLog:
    """One per destination. Only the redacted DSN gets in here, so no key can get out."""

    def __init__(self, destination: str, redacted_dsn: str, clock: Callable[[], float]) -> None:
        self._destination = destination
        self._dsn = redacted_dsn
        self._clock = clock
        self._last_logged: dict[str, float] = {}
        self._pause: dict[str, object] | None = None
        self._dropped: dict[str, int] = {}

    def paused(self, status: int, answer: str, advice: str) -> None:
        """The destination refused us. Pauses that follow each other at once are one to a reader."""
        self._pause = {"status": status, "answer": answer, "what_to_do": advice}
        if self._is_due("pause"):
            self._log_pause("destination_paused")

    def remind(self) -> None:
        """Say again that the destination is paused, if it is and it is time to."""
        if self._pause is not None and self._is_due("pause"):
            self._log_pause("destination_still_paused")

    def backing_off(self, reason: str) -> None:
        """Too many failures in a row: only probes are sent."""
        if self._is_due("backing_off"):
            log.warning("destination_backing_off", destination=self._destination, reason=reason)

    def resumed(self) -> None:
        """A probe was answered."""
        self._pause = None
        if self._is_due("resumed"):
            log.warning("destination_resumed", destination=self._destination, dsn=self._dsn)

    def throttled(self, limits: Mapping[str, float]) -> None:
        """The destination set limits; ``""`` among the categories stands for everything."""
        if limits and self._is_due("throttled"):
            log.warning(
                "destination_throttled",
                destination=self._destination,
                categories=sorted(name or "everything" for name in limits),
                retry_after_s=max(limits.values()),
            )

    def dropped(self, reason: str) -> None:
        """A destination that is not required lost an envelope."""
        self._dropped[reason] = self._dropped.get(reason, 0) + 1
        if self._is_due(f"dropped {reason}"):
            count = self._dropped.pop(reason)
            log.warning(
                "envelopes_dropped", destination=self._destination, reason=reason, count=count
            )

    def _log_pause(self, event: str) -> None:
        assert self._pause is not None  # both callers have just seen to it
        log.error(event, destination=self._destination, dsn=self._dsn, **self._pause)

    def _is_due(self, kind: str) -> bool:
        now = self._clock()
        if now - self._last_logged.get(kind, -math.inf) < _INTERVAL_S:
            return False
        self._last_logged[kind] = now
        return True
