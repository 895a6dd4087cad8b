"""The logs of pods, including ended ones: which pod owned which partition, and when."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

_LOOK_INTERVAL_S = 0.1


@dataclass(frozen=True)
class LogEvent:
    """One line of a consumer's log."""

    pod: str
    uid: str
    name: str
    time_s: float  # Unix time
    fields: dict[str, Any]


class PodLogs:
    """Keeps every container's log by a second link to the file, which outlives the pod's.

    ``close`` ends its thread.
    """

    def __init__(self, sources: Sequence[Path], kept: Path) -> None:
        self._sources = sources
        self._kept = kept
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_all, name="pod logs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def lines(self, namespace: str, pod: str = "") -> list[tuple[str, str, str]]:
        """Yield (pod, its uid, line) of the pods whose name has that prefix, file by file."""
        found = []
        for folder in sorted(self._kept.glob(f"{namespace}_{pod}*")):
            _, name, uid = folder.name.split("_")
            for file in sorted(folder.glob("*.log")):
                # Each line is "time stream tag text" (the CRI's format).
                for line in file.read_text(errors="replace").splitlines():
                    text = line.split(" ", 3)[-1]
                    found.append((name, uid, text))
        return found

    def events(self, namespace: str, pod: str = "", *names: str) -> list[LogEvent]:
        """Return the consumers' log events of these names, or all, by time."""
        found = []
        for owner, uid, line in self.lines(namespace, pod):
            try:
                fields = json.loads(line)
                time_s = datetime.fromisoformat(fields["timestamp"]).timestamp()
            except (ValueError, TypeError, KeyError):
                continue  # a line for people, or half written
            if not names or fields["event"] in names:
                found.append(LogEvent(owner, uid, fields["event"], time_s, fields))
        return sorted(found, key=lambda event: event.time_s)

    def tail(self, namespace: str, lines: int = 12) -> str:
        """Return the last lines of each pod."""
        by_pod: dict[str, list[str]] = {}
        for pod, uid, line in self.lines(namespace):
            by_pod.setdefault(f"{pod} {uid}", []).append(line)
        return "\n".join(
            f"--- {pod}\n" + "\n".join(found[-lines:]) for pod, found in by_pod.items()
        )

    def _keep_all(self) -> None:
        while not self._stop.wait(_LOOK_INTERVAL_S):
            for source in self._sources:
                # A pod's folder may vanish between two lines here.
                with contextlib.suppress(FileNotFoundError):
                    for file in source.glob("*/*/*.log"):
                        self._keep(file)

    def _keep(self, file: Path) -> None:
        kept = self._kept / file.parent.parent.name / f"{file.parent.name}-{file.name}"
        kept.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.link(file, kept)


def without_owner_s(events: Iterable[LogEvent]) -> dict[str, float]:
    """Return, by partition, the longest time between the end of one owner and the next.

    An owner has a partition from its ``partitions_assigned`` to its ``partitions_revoked``; a pod
    that is killed logs nothing, and would count as an owner forever. In the end all have an owner.
    """
    longest: dict[str, float] = {}
    freed_at: dict[str, float] = {}
    for event in sorted(events, key=lambda each: each.time_s):
        for partition in event.fields.get("partitions", ()) if _is_move(event) else ():
            if event.name == "partitions_revoked":
                freed_at[partition] = event.time_s
            elif partition in freed_at:
                gap = event.time_s - freed_at.pop(partition)
                longest[partition] = max(longest.get(partition, 0.0), gap)
    assert not freed_at, f"without an owner at the end: {list(freed_at)}"
    return longest


def owners(events: Iterable[LogEvent]) -> dict[str, str]:
    """Return, by partition, the uid of the pod that owns it after all these events."""
    found: dict[str, str] = {}
    for event in sorted(events, key=lambda each: each.time_s):
        for partition in event.fields.get("partitions", ()) if _is_move(event) else ():
            if event.name == "partitions_assigned":
                found[partition] = event.uid
            elif found.get(partition) == event.uid:
                del found[partition]
    return found


def _is_move(event: LogEvent) -> bool:
    return event.name in ("partitions_assigned", "partitions_revoked")
