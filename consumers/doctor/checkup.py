"""Runs checks at the same time, each in a thread of its own, up to one deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeAlias

from consumers.doctor.finding import Finding, problem
from fleet.bootstrap.redaction import without_credentials
from fleet.errors import FleetError

# Yields what it finds as it finds it: what came before a failure or the deadline counts.
Examination: TypeAlias = Callable[[], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """``name`` and ``subject`` are those of the finding, should it fail or not end."""

    name: str
    subject: str
    examine: Examination


@dataclass(slots=True)
class _Examined:
    check: Check
    findings: list[Finding] = field(default_factory=list)

    def run(self) -> None:
        try:
            for finding in self.check.examine():
                self.findings.append(finding)
        except FleetError as error:
            self.findings.append(
                problem(self.check.name, self.check.subject, str(error), "See the message.")
            )
        except Exception as error:
            # Whatever is wrong with one check, the others' findings are wanted.
            text = without_credentials(f"{type(error).__name__}: {error}")
            self.findings.append(
                problem(
                    self.check.name,
                    self.check.subject,
                    f"the check itself failed: {text}",
                    "This is a bug in consumer-fleet; the other findings stand.",
                )
            )


def check_up(checks: Sequence[Check], timeout_s: float) -> list[Finding]:
    """All findings, in the order of the checks. Blocks until the last has ended, or the deadline.

    A check that has not ended by then is a problem; its thread is left to itself, as one that
    waits for a name server can't be stopped.
    """
    deadline = monotonic() + timeout_s
    running: list[tuple[_Examined, threading.Thread]] = []
    for check in checks:
        examined = _Examined(check)
        thread = threading.Thread(target=examined.run, name=check.name, daemon=True)
        thread.start()
        running.append((examined, thread))
    found: list[Finding] = []
    for examined, thread in running:
        thread.join(max(0.0, deadline - monotonic()))
        found += examined.findings
        if thread.is_alive():
            found.append(
                problem(
                    examined.check.name,
                    examined.check.subject,
                    f"the check did not end within {timeout_s:g} s",
                    "Look for a name server, a firewall or a server that neither answers nor "
                    "refuses.",
                )
            )
    return found
