"""The transform ``sentry-scrubbing``: the SDK's default scrubbing, for events from a server.

The names are those of ``sentry_sdk.scrubber.EventScrubber``. Its walk is not used: it expects
events as an SDK builds them, leaves alone the pairs that Relay makes of headers and cookies, and
ends early, without an error, at a value of an unexpected type.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from sentry_sdk.scrubber import EventScrubber

FILTERED: Final = "[Filtered]"
# The interfaces in which the SDK's scrubber looks, and those that hold stack traces.
_PARTS: Final = (
    "request",
    "extra",
    "user",
    "breadcrumbs",
    "exception",
    "threads",
    "stacktrace",
    "spans",
)


class SentryScrubbing:
    """Replace the values of names that say that they are secret or personal, at any depth."""

    item_types: ClassVar[tuple[str, ...]] = ("event", "transaction", "feedback")

    def __init__(self) -> None:
        names = EventScrubber().denylist
        self._names = frozenset(name.lower().replace("-", "_") for name in names)

    def __call__(self, event: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any]:
        user = event.get("user")
        if isinstance(user, dict):
            # As the SDK does: servers refuse an address that is not one.
            user.pop("ip_address", None)
        for part in _PARTS:
            self._scrub(event.get(part))
        return event

    def _scrub(self, value: object) -> None:
        if isinstance(value, dict):
            for name, member in value.items():
                if self._is_secret(name) and member is not None:
                    value[name] = FILTERED
                else:
                    self._scrub(member)
        elif isinstance(value, list):
            # A pair of a name and a value: a header, a cookie, a parameter of a query.
            if len(value) == 2 and self._is_secret(value[0]) and value[1] is not None:
                value[1] = FILTERED
                return
            for each in value:
                self._scrub(each)

    def _is_secret(self, name: object) -> bool:
        return isinstance(name, str) and name.lower().replace("-", "_") in self._names


scrub: Final = SentryScrubbing()
