"""Whether an event of our own may go to the saas destination, or would feed on itself.

An error while capturing that is captured, and fails, and is captured again, never ends.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import sentry_sdk

UNSAFE_TAG: Final = "_unsafe"

_PACKAGE: Final = str(Path(__file__).parent)
# The SDK's own path comes through these two: their presence on the stack says nothing.
_ENTRANCES: Final = frozenset({f"{_PACKAGE}/transport.py", f"{_PACKAGE}/safety.py"})
_UNSAFE_FILES: Final = frozenset(
    str(path) for path in Path(__file__).parent.glob("*.py") if str(path) not in _ENTRANCES
)


def is_current_event_safe() -> bool:
    """False if the scope is tagged ``_unsafe`` or the event comes out of this package."""
    # The SDK has no public way to read a tag back.
    for scope in (sentry_sdk.get_current_scope(), sentry_sdk.get_isolation_scope()):
        if scope._tags.get(UNSAFE_TAG):  # noqa: SLF001 - see above
            return False
    return not _is_capturing()


def _is_capturing() -> bool:
    frame = sys._getframe(1)  # noqa: SLF001 - inspect.stack reads source files for each frame
    while frame is not None:
        if frame.f_code.co_filename in _UNSAFE_FILES:
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False
