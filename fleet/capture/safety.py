"""Whether an event of our own may go to the saas destination, or would feed on itself.

An error while capturing that is captured, and fails, and is captured again, never ends.
"""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Final

import sentry_sdk

UNSAFE_TAG: Final = "_unsafe"

_PACKAGE: Final = os.path.dirname(__file__) + os.sep  # noqa: PTH120 - compared with frames' strings


def is_current_event_safe() -> bool:
    """False if the scope is tagged ``_unsafe`` or the event comes out of this package.

    For the thread that captures the event, while it does.
    """
    scopes = (sentry_sdk.get_current_scope(), sentry_sdk.get_isolation_scope())
    # The SDK has no public way to read a tag back.
    if any(scope._tags.get(UNSAFE_TAG) for scope in scopes):
        return False
    return not _comes_from_capture(sys._getframe(1))


def _comes_from_capture(innermost: FrameType | None) -> bool:
    """Whether the stack enters this package, leaves it, and is in it again.

    Each own event ends in this package; those that begin in it too are the unsafe ones.
    """
    has_left = False
    frame = innermost
    while frame is not None:
        is_ours = frame.f_code.co_filename.startswith(_PACKAGE)
        if has_left and is_ours:
            return True
        has_left = has_left or not is_ours
        frame = frame.f_back
    return False
