"""This machine's limits, and what the workers and connections of the options need."""

from __future__ import annotations

import math
import os
import platform
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consumer_fleet.bootstrap.cpus import (
    CGROUP_ROOT,
    SELF_CGROUP,
    group_levels,
    read_or_empty,
    usable_cpus,
)
from consumer_fleet.bootstrap.destinations import capture_options
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.doctor.finding import Finding, ok, problem, warning
from consumer_fleet.humanize import counted

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - where multiprocessing puts what is shared


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder for files. ``error`` says why none can be created there, else it is empty."""

    path: str
    free_bytes: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """Limits of one process; memory and processes are those of its whole container."""

    cpus: int
    memory_bytes: int | None
    open_files: int
    free_processes: int | None
    shared_memory: Folder | None
    temporary: Folder


def gather() -> MachineFacts:
    """Blocks briefly: a file is created and removed in each folder."""
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
    """Bytes: the tightest limit of cgroup v2 or v1, or the machine's memory if that is less, as it
    is if v1 writes "no limit" as a very large number.
    """
    limits = [
        *(_number(group / "memory.max") for group in _groups(cgroup_root, self_cgroup, "")),
        *(
            _number(group / "memory.limit_in_bytes")
            for group in _groups(cgroup_root / "memory", self_cgroup, "memory")
        ),
        *(
            int(line.split()[1]) * 1024
            for line in read_or_empty(meminfo).splitlines()
            if line.startswith("MemTotal:")
        ),
    ]
    return min((limit for limit in limits if limit is not None), default=None)


def free_processes(cgroup_root: Path = CGROUP_ROOT, self_cgroup: Path = SELF_CGROUP) -> int | None:
    """Processes and threads that may still start here; None if the limit is unknown."""
    left = []
    for root, controller in ((cgroup_root, ""), (cgroup_root / "pids", "pids")):
        for group in _groups(root, self_cgroup, controller):
            limit, used = _number(group / "pids.max"), _number(group / "pids.current")
            if limit is not None and used is not None:
                left.append(max(0, limit - used))
    return min(left, default=None)


def folder(path: Path) -> Folder:
    """Create a file in a folder, and remove it."""
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
        # It tries the usual folders, and raises if none of them is writable.
        return Folder(os.environ.get("TMPDIR", "/tmp"), 0, "no file can be created")  # noqa: S108 - only named
    return folder(path)


def _groups(root: Path, self_cgroup: Path, controller: str) -> Iterator[Path]:
    """The process's own group and those above it, which limit it too."""
    return (root / level for level in group_levels(self_cgroup, controller))


def _number(path: Path) -> int | None:
    """A limit; None if the file is missing or says ``max``."""
    text = read_or_empty(path).strip()
    return int(text) if text.isdecimal() else None


_MIB: Final = 1024 * 1024
# Measured (docs/performance.md): the interpreters and their modules, without any message.
_PARENT_MIB: Final = 100
_WORKER_MIB: Final = 50
_PREFETCH_MIB: Final = 16
# Pipes, the log, certificates, epoll, Kafka's connections: what is open beside the deliveries.
_OTHER_FILES: Final = 64
# librdkafka has a thread per broker and client; a worker has three of its own.
_PARENT_THREADS: Final = 40
_WORKER_THREADS: Final = 4
_LEAST_FREE_BYTES: Final = 1 * _MIB


def examine_machine(options: Options) -> Iterator[Finding]:
    """All findings about this machine."""
    yield ok("machine.versions", "program", versions())
    facts = gather()
    yield cpus(facts, options.worker_count)
    yield memory(facts, options)
    yield open_files(facts, options)
    yield processes(facts, options.worker_count)
    yield shared_memory(facts)
    yield temporary_files(facts)


def versions() -> str:
    """The versions that a bug report needs."""
    import confluent_kafka  # noqa: PLC0415 - slow to import; each check runs in a thread of its own
    import pycurl  # noqa: PLC0415 - likewise

    from consumer_fleet.capture.dsn import client_name  # noqa: PLC0415 - likewise

    curl = dict(part.split("/", 1) for part in pycurl.version.split() if "/" in part)
    return (
        f"{client_name()}, Python {platform.python_version()}, librdkafka "
        f"{confluent_kafka.libversion()[0]}, libcurl {curl.get('libcurl', '?')}, OpenSSL "
        f"{curl.get('OpenSSL', '?')}"
    )


def cpus(facts: MachineFacts, workers: int) -> Finding:
    seen = f"{counted(workers, 'worker')} on {counted(facts.cpus, 'usable CPU')}"
    if workers > 2 * facts.cpus:
        return warning(
            "machine.cpus",
            "workers",
            seen,
            f"More workers than CPUs add memory, not speed: set workers to {facts.cpus}, or give "
            "the container more CPU.",
        )
    return ok("machine.cpus", "workers", seen)


def memory(facts: MachineFacts, options: Options) -> Finding:
    needed_mib = needed_memory_mib(options)
    if facts.memory_bytes is None:
        return ok("machine.memory", "memory", f"needs up to {needed_mib} MiB; limit unknown")
    limit_mib = facts.memory_bytes // _MIB
    seen = f"needs up to {needed_mib} MiB, the limit is {limit_mib} MiB"
    if limit_mib < needed_mib:
        return warning(
            "machine.memory",
            "memory",
            seen,
            "With full budgets the program may be killed: raise the limit, or lower "
            f"max_in_flight_mb ({options.max_in_flight_mb}) or workers ({options.worker_count}).",
        )
    return ok("machine.memory", "memory", seen)


def needed_memory_mib(options: Options) -> int:
    """With all budgets full: the parent's messages, and the same again in its workers."""
    best_effort = sum(not each.required for each in capture_options(options).destinations)
    per_worker_mib = _WORKER_MIB + best_effort * options.best_effort_budget_mb
    return (
        _PARENT_MIB
        + _PREFETCH_MIB
        + 2 * options.max_in_flight_mb
        + options.worker_count * per_worker_mib
    )


def open_files(facts: MachineFacts, options: Options) -> Finding:
    """The limit is per process; a worker needs the most, unless there are very many."""
    destinations = capture_options(options).destinations
    in_a_worker = max(1, len(destinations)) * options.connections
    in_the_parent = 4 * options.worker_count
    needed = max(in_a_worker, in_the_parent) + _OTHER_FILES
    if facts.open_files == resource.RLIM_INFINITY:
        return ok("machine.files", "open files", f"needs up to {needed:,}; no limit")
    seen = f"a process needs up to {needed:,}, the limit is {facts.open_files:,}"
    if facts.open_files < needed:
        return problem(
            "machine.files",
            "open files",
            seen,
            f"Raise the limit, or set connections below {options.connections}.\n"
            f"ulimit -n {2 ** math.ceil(math.log2(needed))}",
        )
    return ok("machine.files", "open files", seen)


def processes(facts: MachineFacts, workers: int) -> Finding:
    needed = _PARENT_THREADS + (1 + _WORKER_THREADS) * workers
    if facts.free_processes is None:
        return ok("machine.processes", "processes", f"needs about {needed}; limit unknown")
    seen = f"needs about {needed}, {facts.free_processes:,} more may start"
    if facts.free_processes < needed:
        return problem(
            "machine.processes",
            "processes",
            seen,
            "Threads count too. Raise the container's limit (pids), or lower workers.",
        )
    return ok("machine.processes", "processes", seen)


def shared_memory(facts: MachineFacts) -> Finding:
    """Parent and workers share a page each; without room in /dev/shm it is in a file."""
    chosen = facts.shared_memory
    if chosen is None or (not chosen.error and chosen.free_bytes < _LEAST_FREE_BYTES):
        chosen = facts.temporary
    if chosen.error:
        return problem(
            "machine.shm",
            chosen.path,
            f"no file can be created there: {chosen.error}",
            "Workers share a page of memory with their parent there: make it writable (in "
            "Kubernetes an emptyDir of medium Memory).",
        )
    return ok("machine.shm", chosen.path, f"{_size(chosen.free_bytes)} free for shared pages")


def temporary_files(facts: MachineFacts) -> Finding:
    temporary = facts.temporary
    if temporary.error:
        return warning(
            "machine.temp",
            temporary.path,
            f"no file can be created there: {temporary.error}",
            "Mount a writable folder there (in Kubernetes an emptyDir), or name one.\n"
            "export TMPDIR=/path/to/a/folder",
        )
    if temporary.free_bytes < _LEAST_FREE_BYTES:
        return warning("machine.temp", temporary.path, "full", "Free some space there.")
    return ok("machine.temp", temporary.path, f"writable, {_size(temporary.free_bytes)} free")


def _size(size_bytes: int) -> str:
    mib = size_bytes / _MIB
    return f"{mib / 1024:,.1f} GiB" if mib >= 1024 else f"{mib:,.0f} MiB"
