"""What this machine, or this container of it, allows. Linux; what can't be read is None."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.bootstrap.cpus import CGROUP_ROOT, SELF_CGROUP, usable_cpus

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - where multiprocessing puts what is shared


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that files are made in. ``error`` says why none can be, empty where one can."""

    path: str
    free_bytes: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """Limits of one process, but for memory and processes, which its whole container shares."""

    cpus: int
    memory_bytes: int | None
    open_files: int
    free_processes: int | None
    shared_memory: Folder | None
    temporary: Folder


def gather() -> MachineFacts:
    """Blocks shortly: a file is made and removed in each folder."""
    return MachineFacts(
        cpus=usable_cpus(),
        memory_bytes=memory_limit(),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        free_processes=free_processes(),
        shared_memory=folder(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None,
        temporary=_temporary_folder(),
    )


def memory_limit(
    cgroup_root: Path = CGROUP_ROOT,
    self_cgroup: Path = SELF_CGROUP,
    meminfo: Path = Path("/proc/meminfo"),
) -> int | None:
    """Bytes: the tightest limit of cgroup v2 or v1, or what the machine has if that is less, as it
    is where v1 writes "no limit" as a very large number.
    """
    limits = [
        *(_number(group / "memory.max") for group in _groups(cgroup_root, self_cgroup, "")),
        *(
            _number(group / "memory.limit_in_bytes")
            for group in _groups(cgroup_root / "memory", self_cgroup, "memory")
        ),
        *(
            int(line.split()[1]) * 1024
            for line in _read(meminfo).splitlines()
            if line.startswith("MemTotal:")
        ),
    ]
    return min((limit for limit in limits if limit is not None), default=None)


def free_processes(cgroup_root: Path = CGROUP_ROOT, self_cgroup: Path = SELF_CGROUP) -> int | None:
    """Processes and threads that may still start here; None = no limit is known."""
    left = []
    for root, controller in ((cgroup_root, ""), (cgroup_root / "pids", "pids")):
        for group in _groups(root, self_cgroup, controller):
            limit, used = _number(group / "pids.max"), _number(group / "pids.current")
            if limit is not None and used is not None:
                left.append(max(0, limit - used))
    return min(left, default=None)


def folder(path: Path) -> Folder:
    """Try a folder out."""
    try:
        status = os.statvfs(path)
        free_bytes = status.f_bavail * status.f_frsize
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"\0")
            file.flush()
    except OSError as error:
        return Folder(str(path), 0, error.strerror or type(error).__name__)
    return Folder(str(path), free_bytes)


def _temporary_folder() -> Folder:
    try:
        path = Path(tempfile.gettempdir())
    except OSError:
        # It tries the usual places, and raises where none of them can be written.
        return Folder(os.environ.get("TMPDIR", "/tmp"), 0, "no file can be made")  # noqa: S108 - only named
    return folder(path)


def _groups(root: Path, self_cgroup: Path, controller: str) -> Iterator[Path]:
    """The own group's folder and those above it, which limit it too."""
    own = ""
    for line in _read(self_cgroup).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controller in controllers.split(","):
            own = path
    parts = [part for part in own.split("/") if part not in ("", "..")]
    for length in range(len(parts), -1, -1):
        yield root.joinpath(*parts[:length])


def _number(path: Path) -> int | None:
    """A limit's number; None where the file is missing or says ``max``."""
    text = _read(path).strip()
    return int(text) if text.isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
