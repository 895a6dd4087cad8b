"""The meaning of a destination's answer, for the envelope and for the destination."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Final

import structlog

from consumer_fleet.capture.posts import Answer

# They are about the DSN, the address or the proxy, never about the envelope.
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
    """The meaning of an answer: exactly one of these."""

    ACCEPTED = auto()
    LATER = auto()  # no answer, or a problem of the server: retry the envelope
    LIMITED = auto()
    REFUSED = auto()  # the destination accepts nothing from us until somebody fixes it
    REJECTED = auto()  # this envelope is invalid, the next may be fine


def judge(status: int) -> Verdict:
    """Classify a status; 0 means no answer."""
    if 200 <= status < 300:
        return Verdict.ACCEPTED
    if status == 429:
        return Verdict.LIMITED
    # Redirects are not followed: the key would go to any server that the answer names.
    if 300 <= status < 400 or status in _REFUSALS:
        return Verdict.REFUSED
    if 400 <= status < 500 and status not in _TRY_LATER:
        return Verdict.REJECTED
    return Verdict.LATER


def advice(status: int) -> str:
    """Say what a person can do about a refusal."""
    if 300 <= status < 400:
        return "its answer is a redirect, which is not followed: use the final address in its DSN"
    return _ADVICE.get(status, _CHECK_ADDRESS)


def describe(answer: Answer, secrets: tuple[str, ...]) -> str:
    """Describe an answer in one short line for a person, without the given keys."""
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
    """Log a destination's troubles, each at most once a minute. It knows only the redacted DSN."""

    def __init__(self, destination: str, redacted_dsn: str, clock: Callable[[], float]) -> None:
        self._destination = destination
        self._dsn = redacted_dsn
        self._clock = clock
        self._last_logged: dict[str, float] = {}
        self._pause: dict[str, object] | None = None
        self._dropped: dict[str, int] = {}

    def paused(self, status: int, answer: str, advice: str) -> None:
        """The destination refused us. Pauses in quick succession are logged once."""
        self._pause = {"status": status, "answer": answer, "what_to_do": advice}
        if self._is_due("pause"):
            self._log_pause("destination_paused")

    def remind(self) -> None:
        """Log again that the destination is paused, a minute after the last line about it."""
        if self._pause is not None and self._is_due("pause"):
            self._log_pause("destination_still_paused")

    def backing_off(self, reason: str) -> None:
        """Too many failures in a row: only probes are sent."""
        if self._is_due("backing_off"):
            log.warning("destination_backing_off", destination=self._destination, reason=reason)

    def resumed(self) -> None:
        """A probe was answered: envelopes are sent freely again."""
        self._pause = None
        if self._is_due("resumed"):
            log.warning("destination_resumed", destination=self._destination, dsn=self._dsn)

    def throttled(self, limits: Mapping[str, float]) -> None:
        """The destination set limits; ``""`` among the categories means everything."""
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
        assert self._pause is not None  # both callers have just checked it
        log.error(event, destination=self._destination, dsn=self._dsn, **self._pause)

    def _is_due(self, kind: str) -> bool:
        now = self._clock()
        if now - self._last_logged.get(kind, -math.inf) < _INTERVAL_S:
            return False
        self._last_logged[kind] = now
        return True
