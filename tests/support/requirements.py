"""Programs that tests need from the machine."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


class MissingPart(Exception):
    """A program that the tests start is not on this machine; the message says how to get it."""


def require(part: str, reason: str) -> NoReturn:
    """End the test because ``part`` is missing: skip it, or fail it if CI is set.

    A skip in CI would hide that a promise is no longer checked.
    """
    message = f"{part} is missing: {reason}"
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
