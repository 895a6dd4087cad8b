"""Who it was, for the lines of the log that an audit looks for."""

from __future__ import annotations

import getpass
import os


def user_name() -> str:
    """The operating system's user; a number where it has no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
