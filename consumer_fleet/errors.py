"""Every error that this program raises on purpose, as one tree; and the exit codes.

::

    FleetError
    ├── ConfigurationError      78  an option, a file or a service is wrong
    │   └── ServiceError        78  names the service that failed
    ├── KafkaUnreachable        69  no broker answered
    ├── DestinationUnavailable  69  a run to the end can't deliver the rest
    ├── OffsetsOutOfRange       78  committed offsets are gone and the policy says "error"
    ├── UndeliverableMessage    65  a message was rejected and there is no dead-letter topic
    ├── RecordingError          65  a file is not a recording, is damaged, or has a newer version
    ├── SystemFailure           71  the system ends workers during their boot, or starts none
    ├── OutputError             74  a file can't be written: no room, no permission
    ├── GroupIsActive           75  a group's offsets can't be moved while it has members
    └── RejectedMessage             one message is bad; it becomes a dead letter, never an exit

``FleetError.exit_code`` is the process's exit code; the numbers are those of sysexits.h.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_DATA = 65
EXIT_UNAVAILABLE = 69
EXIT_BUG = 70
EXIT_SYSTEM = 71
EXIT_OUTPUT = 74
EXIT_GROUP_IS_ACTIVE = 75
EXIT_CONFIGURATION = 78
EXIT_FORCED_INT = 130
EXIT_NO_READER = 141  # as a shell shows an end by SIGPIPE
EXIT_FORCED_TERM = 143


class FleetError(Exception):
    """The root. Its message is written for a user and is printed without a traceback."""

    exit_code = EXIT_BUG


class ConfigurationError(FleetError):
    """An option, a file or a service is wrong: says which, where, and how to fix it."""

    exit_code = EXIT_CONFIGURATION


class ServiceError(ConfigurationError):
    """A service failed to validate or to set itself up."""

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(f"service {service!r}: {reason}")
        self.service = service


class KafkaUnreachable(FleetError):
    """No broker answered within the caller's timeout."""

    exit_code = EXIT_UNAVAILABLE


class DestinationUnavailable(FleetError):
    """All is read, and the destinations have accepted nothing of the rest for long."""

    exit_code = EXIT_UNAVAILABLE


class OffsetsOutOfRange(FleetError):
    """A partition's position is no longer on the broker and ``auto_offset_reset`` is ``error``."""

    exit_code = EXIT_CONFIGURATION


class UndeliverableMessage(FleetError):
    """A message was rejected while dead-lettering is switched off: going on would lose it."""

    exit_code = EXIT_DATA


class RecordingError(FleetError):
    """A file can't be read as a recording, or not completely: says where the readable part ends."""

    exit_code = EXIT_DATA


class SystemFailure(FleetError):
    """The system ends workers while they boot, as when memory runs out, or can't start any."""

    exit_code = EXIT_SYSTEM


class OutputError(FleetError):
    """A file can't be written: names it, the cause, and how much of it exists."""

    exit_code = EXIT_OUTPUT


class GroupIsActive(FleetError):
    """A consumer group has members, which would overwrite offsets that are set from outside."""

    exit_code = EXIT_GROUP_IS_ACTIVE


class RejectedMessage(FleetError):
    """One message can't be delivered, now or later: it goes to the dead-letter topic.

    ``reason`` is a short fixed identifier (``invalid_json``, ``http_400``, …), fit for a metric's
    tag; ``detail`` says more, for a person, in at most a few hundred characters.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
