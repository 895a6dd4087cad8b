"""Where the pipeline's log goes in a test."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def warnings_to_stderr() -> Iterator[None]:
    """Within the block, print warnings and errors, which pytest shows with a failed test.

    Not through ``logging``: the tested project's own SDK would report them. A project that has
    configured structlog itself knows better, and nothing is changed.
    """
    if structlog.is_configured():
        yield
        return
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            # Plain: the default shows local variables, which are screens full of payloads.
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.reset_defaults()
