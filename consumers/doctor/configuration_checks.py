"""Do the options make sense together, before anything is asked of the outside world?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from consumers.doctor.finding import Finding, ok, problem, warning
from consumers.doctor.subjects import Subject
from consumers.start_checks import refuse_long_drain, refuse_own_topic
from fleet.bootstrap.dangers import dangerous_modes
from fleet.bootstrap.options import Options, delivery_mode
from fleet.bootstrap.reserved_groups import refuse_reserved_group
from fleet.bootstrap.validate_snuba import validate_snuba
from fleet.errors import ConfigurationError

_EMBEDDED: Final = (
    "nothing is configured: `consumer run` is a demonstration, with a broker and a receiver of "
    "its own"
)


def is_embedded(options: Options) -> bool:
    """Whether nothing is configured at all. Half a configuration is not nothing."""
    try:
        return delivery_mode(options) == "embedded"
    except ConfigurationError:
        return False


def examine_configuration(options: Options, subjects: tuple[Subject, ...]) -> Iterator[Finding]:
    """All findings about the options alone. They resolved: each is right by itself."""
    if is_embedded(options):
        yield ok("configuration", "options", _EMBEDDED)
        return
    found = list(wholeness(options))
    for subject in subjects:
        found += names(subject)
    if not any(finding.status == "problem" for finding in found):
        yield ok("configuration", "options", "complete, and without contradictions")
    yield from found
    yield from dangers(options)


def wholeness(options: Options) -> Iterator[Finding]:
    """What ``consumer run`` checks before it connects to anything."""
    for check in (delivery_mode, _fits_snuba, refuse_long_drain):
        try:
            check(options)
        except ConfigurationError as error:
            yield _as_problem("options", error)


def _fits_snuba(options: Options) -> None:
    # As a worker does it: neither printing nor asking Snuba, which is a check of its own. So is
    # the group, which is to be looked at whatever else is wrong.
    validate_snuba(options.model_copy(update={"group": None}), "worker")


def names(subject: Subject) -> Iterator[Finding]:
    """A group or a dead letter topic that belongs to somebody else."""
    try:
        refuse_reserved_group(subject.group)
    except ConfigurationError as error:
        yield _as_problem("group", error)
    try:
        refuse_own_topic(subject.topic, subject.dead_letter_topic)
    except ConfigurationError as error:
        yield _as_problem("dlq_topic", error)


def dangers(options: Options) -> Iterator[Finding]:
    """Choices that are allowed, and that lose data or hide that it is lost."""
    for line in dangerous_modes(options):
        subject, _, seen = line.partition(": ")
        if not seen:
            subject, _, seen = line.partition(" ")
        yield warning(
            "configuration",
            subject,
            seen.removesuffix("."),
            "Change the option, unless this is what you want.",
        )


def _as_problem(subject: str, error: ConfigurationError) -> Finding:
    seen, _, fix = str(error).partition(". ")
    return problem("configuration", subject, seen, fix or "Change the option.")
