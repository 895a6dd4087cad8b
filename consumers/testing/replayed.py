"""What a replay has shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from consumers.testing.expectation import Expectations
from consumers.testing.seen import DeadLettered, Origin, SentEnvelope
from fleet.metrics import Snapshot

_NOWHERE = Origin("", -1, -1)


@dataclass(frozen=True)
class Replayed:
    """The outcome of a replay; lists are in the order of partition and offset.

    ``commits``: partition → the offset that the next run would begin with. ``metrics``:
    ``name{tag=value,…}`` → a counter's sum or a gauge's last value.
    """

    envelopes: Mapping[str, list[SentEnvelope]]
    dead_letters: list[DeadLettered]
    filtered: Mapping[str, int]
    commits: Mapping[int, int]
    delivered: int
    metrics: Mapping[str, float]
    #: What ``check`` compares with; the fixture sets it.
    expectations: Expectations | None = field(default=None, compare=False)

    def check(self, name: str | None = None) -> None:
        """Compare with the stored expectation; AssertionError with a diff where they differ.

        The file lies beside the recording: RECORDING.expected.json, or RECORDING.NAME.expected.json
        for one of several tests of a recording. ``--update-recordings`` writes it.
        """
        __tracebackhide__ = True
        if self.expectations is None:
            raise TypeError("check() needs the fixture replay, which knows where the file lies")
        self.expectations.check(self, name)

    def __repr__(self) -> str:
        sent = ", ".join(f"{name} {len(them)}" for name, them in self.envelopes.items() if them)
        reasons = ", ".join(f"{letter.origin} {letter.reason}" for letter in self.dead_letters[:3])
        more = ", …" if len(self.dead_letters) > 3 else ""
        return (
            f"<Replayed: sent to {sent or 'nobody'}; filtered {dict(self.filtered)}; "
            f"dead letters {len(self.dead_letters)} [{reasons}{more}]; "
            f"commits {dict(self.commits)}>"
        )


def in_order(envelopes: list[SentEnvelope]) -> list[SentEnvelope]:
    return sorted(envelopes, key=lambda envelope: envelope.origin or _NOWHERE)


def named_metrics(snapshot: Snapshot) -> dict[str, float]:
    """By ``name{tag=value,…}``, in order."""
    found = {}
    for (name, tags), value in sorted({**snapshot.counters, **snapshot.gauges}.items()):
        text = ",".join(f"{key}={tag}" for key, tag in sorted(tags))
        found[f"{name}{{{text}}}" if text else name] = value
    return found
