"""What a destination's answer means for the envelope and for the destination."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from fleet.capture.http_posts import Answer

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
