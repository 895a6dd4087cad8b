"""Logging: structlog and the standard library's loggers end in one handler, on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TextIO, TypeAlias

import click
import structlog
from structlog.typing import EventDict, Processor

from consumer_fleet.bootstrap.redaction import redact
from consumer_fleet.printable import printable_lines, without_credentials

LogFormat: TypeAlias = Literal["human", "json"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
LEVELS: Mapping[LogLevel, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
# Below a warning, their lines repeat this program's own events or drown them out.
_CHATTY = ("arroyo", "asyncio", "sentry_sdk", "urllib3")


#: The line that the cursor is in, and all below it.
CLEAR_BELOW = "\r\x1b[J"


class FleetHandler(logging.StreamHandler[TextIO]):
    """Our handler on the root logger; its class tells it from handlers that others put there.

    Without a stream it writes to ``sys.stderr`` as it is at that moment, so that log lines and a
    live line on the terminal can share it.
    """

    def __init__(self, stream: TextIO | None = None, *, clears_line: bool = False) -> None:
        self._follows_stderr = stream is None
        self._clears_line = clears_line
        super().__init__(stream)

    def emit(self, record: logging.LogRecord) -> None:
        if self._follows_stderr:
            self.stream = sys.stderr
        if self._clears_line and self.stream.isatty():
            self.stream.write(CLEAR_BELOW)
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def configure_logging(
    log_format: LogFormat | None,
    level: LogLevel,
    worker_number: int | None = None,
    stream: TextIO | None = None,
    *,
    has_table: bool = False,
) -> None:
    """Send all logs to ``stream`` (stderr), as lines for a person or as one JSON object per line.

    A format of None means ``human`` on a terminal. A worker's number goes with each of its lines.
    ``has_table``: this process shows a table of its topics. A second call replaces the first.
    """
    shown_on = stream if stream is not None else sys.stderr
    if log_format is None:
        log_format = "human" if shown_on.isatty() else "json"
    shared = _shared_processors(log_format, worker_number)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        # Loggers are made when modules are imported, which may be before this call.
        cache_logger_on_first_use=False,
    )
    # The parent's live line is in the way of a worker that writes to the same terminal.
    handler = FleetHandler(stream, clears_line=has_table or worker_number is not None)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(log_format, colors=shown_on.isatty()),
            ],
        )
    )
    _install(handler, LEVELS[level])


def _timestamper(log_format: str) -> Processor:
    if log_format == "json":
        return structlog.processors.TimeStamper(fmt="iso", utc=True)
    # A person at the terminal knows the day, and has 80 columns.
    return structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)


def _shared_processors(log_format: str, worker_number: int | None) -> list[Processor]:
    def add_worker(_logger: object, _method: str, event: EventDict) -> EventDict:
        if worker_number is not None:
            event.setdefault("worker", worker_number)
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        add_worker,
        _timestamper(log_format),
        # Plain text: the pretty renderings show local variables, and so payloads and keys.
        structlog.processors.format_exc_info,
        # A library may log a URL that is a DSN.
        _changing_text(without_credentials),
    ]


def _renderers(log_format: str, *, colors: bool) -> list[Processor]:
    if log_format == "json":
        return [structlog.processors.JSONRenderer(default=str)]
    return [
        _without_logger_name,
        # A message or a server's answer must not control the terminal.
        _changing_text(printable_lines),
        structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        ),
    ]


def _without_logger_name(_logger: object, _method: str, event: EventDict) -> EventDict:
    event.pop("logger", None)
    return event


def _changing_text(change: Callable[[str], str]) -> Processor:
    def change_all(_logger: object, _method: str, event: EventDict) -> EventDict:
        for key, value in event.items():
            if isinstance(value, str):
                event[key] = change(value)
        return event

    return change_all


def _install(handler: FleetHandler, level: int) -> None:
    root = logging.getLogger()
    for former in [former for former in root.handlers if isinstance(former, FleetHandler)]:
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)


def framed(title: str, lines: Iterable[str]) -> str:
    """Title and lines inside a frame of ASCII, so that any terminal and log store shows it."""
    body = [title.upper(), "", *lines]
    width = max(map(len, body))
    edge = f"+{'-' * (width + 2)}+"
    return "\n".join([edge, *(f"| {line.ljust(width)} |" for line in body), edge])


def print_framed(title: str, lines: Iterable[str]) -> None:
    """Write the frame to stderr: yellow there on a terminal, plain elsewhere."""
    click.secho(framed(title, lines), err=True, fg="yellow")
