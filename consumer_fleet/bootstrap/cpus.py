"""How many CPUs this process may really use, as opposed to how many the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
SELF_CGROUP = Path("/proc/self/cgroup")


def usable_cpus(
    affinity: int | None = None,
    cgroup_root: Path = CGROUP_ROOT,
    self_cgroup: Path = SELF_CGROUP,
) -> int:
    """CPUs that the scheduler and the container's quota both allow, rounded up, at least 1.

    ``affinity`` is the number of CPUs in the scheduler's set; None asks the system.
    """
    allowed = affinity if affinity is not None else _affinity()
    quota = _quota(cgroup_root, self_cgroup)
    return max(1, allowed if quota is None else min(allowed, math.ceil(quota)))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(cgroup_root: Path, self_cgroup: Path) -> float | None:
    """The tightest CPU quota in CPUs, of cgroup v2 (cpu.max) or v1 (cpu.cfs_*); None = unlimited.

    A quota on any ancestor holds too, so every level from the own group to the root is read.
    Inside a container the root usually is the own group.
    """
    levels = group_levels(self_cgroup, "", "cpu")
    quotas = [_quota_v2(cgroup_root / level) for level in levels]
    for mount in ("cpu", "cpu,cpuacct"):
        quotas += [_quota_v1(cgroup_root / mount / level) for level in levels]
    return min((quota for quota in quotas if quota is not None), default=None)


def group_levels(self_cgroup: Path, *controllers: str) -> list[str]:
    """The own group of one of these controllers ("" is cgroup v2) and its ancestors, as paths
    below the controller's mount.
    """
    own = ""
    for line in read_or_empty(self_cgroup).splitlines():
        _, names, path = [*line.split(":", 2), "", ""][:3]
        if set(names.split(",")) & set(controllers):
            own = path
    parts = [part for part in own.split("/") if part not in ("", "..")]
    return ["/".join(parts[:length]) for length in range(len(parts), -1, -1)]


def _quota_v2(group: Path) -> float | None:
    fields = read_or_empty(group / "cpu.max").split()
    if len(fields) != 2 or fields[0] == "max":
        return None
    return _ratio(fields[0], fields[1])


def _quota_v1(group: Path) -> float | None:
    return _ratio(
        read_or_empty(group / "cpu.cfs_quota_us"), read_or_empty(group / "cpu.cfs_period_us")
    )


def _ratio(quota: str, period: str) -> float | None:
    try:
        quota_us, period_us = int(quota), int(period)
    except ValueError:
        return None
    # v1 writes -1 for "no quota".
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def read_or_empty(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
