"""Does this machine have room for the workers and connections that the options ask for?"""

from __future__ import annotations

import math
import platform
import resource
from collections.abc import Iterator
from typing import Final

from consumers.doctor.finding import Finding, ok, problem, warning
from consumers.doctor.machine_facts import MachineFacts, gather
from fleet.bootstrap.options import Options

_MIB: Final = 1024 * 1024
# Measured (docs/benchmarks.md): the interpreters and their modules, without any message.
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
    """What a bug report needs to name."""
    import confluent_kafka  # noqa: PLC0415 - slow to import; each check runs in a thread of its own
    import pycurl  # noqa: PLC0415 - likewise

    from fleet.capture.dsn import client_name  # noqa: PLC0415 - likewise

    curl = dict(part.split("/", 1) for part in pycurl.version.split() if "/" in part)
    return (
        f"{client_name()}, Python {platform.python_version()}, librdkafka "
        f"{confluent_kafka.libversion()[0]}, libcurl {curl.get('libcurl', '?')}, OpenSSL "
        f"{curl.get('OpenSSL', '?')}"
    )


def cpus(facts: MachineFacts, workers: int) -> Finding:
    seen = f"{_counted(workers, 'worker')} on {_counted(facts.cpus, 'usable CPU')}"
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
        return ok("machine.memory", "memory", f"up to {needed_mib} MiB are needed; limit unknown")
    limit_mib = facts.memory_bytes // _MIB
    seen = f"up to {needed_mib} MiB are needed, the limit is {limit_mib} MiB"
    if limit_mib < needed_mib:
        return warning(
            "machine.memory",
            "memory",
            seen,
            "A full budget may get the program killed: raise the limit, or lower "
            f"max_in_flight_mb ({options.max_in_flight_mb}) or workers ({options.worker_count}).",
        )
    return ok("machine.memory", "memory", seen)


def needed_memory_mib(options: Options) -> int:
    """With all budgets full: the parent's messages, and the same again over its workers."""
    best_effort = sum(
        dsn is not None and delivery == "best-effort"
        for dsn, delivery in (
            (options.upstream_dsn, options.upstream_delivery),
            (options.saas_dsn, options.saas_delivery),
        )
    )
    per_worker_mib = _WORKER_MIB + best_effort * options.best_effort_budget_mb
    return (
        _PARENT_MIB
        + _PREFETCH_MIB
        + 2 * options.max_in_flight_mb
        + options.worker_count * per_worker_mib
    )


def open_files(facts: MachineFacts, options: Options) -> Finding:
    """Each process has the limit to itself; a worker needs the most, unless they are very many."""
    destinations = sum(dsn is not None for dsn in (options.upstream_dsn, options.saas_dsn))
    in_a_worker = max(1, destinations) * options.connections
    in_the_parent = 4 * options.worker_count
    needed = max(in_a_worker, in_the_parent) + _OTHER_FILES
    if facts.open_files == resource.RLIM_INFINITY:
        return ok("machine.files", "open files", f"up to {needed:,} are needed; there is no limit")
    seen = f"up to {needed:,} are needed in a process, the limit is {facts.open_files:,}"
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
        return ok("machine.processes", "processes", f"about {needed} are needed; no limit is known")
    seen = f"about {needed} are needed, {facts.free_processes:,} more may start"
    if facts.free_processes < needed:
        return problem(
            "machine.processes",
            "processes",
            seen,
            "Threads count too. Raise the container's limit (pids), or lower workers.",
        )
    return ok("machine.processes", "processes", seen)


def shared_memory(facts: MachineFacts) -> Finding:
    """Parent and workers share a page each; without room in /dev/shm it lies in a file."""
    place = facts.shared_memory
    if place is None or (not place.error and place.free_bytes < _LEAST_FREE_BYTES):
        place = facts.temporary
    if place.error:
        return problem(
            "machine.shm",
            place.path,
            f"no file can be made there: {place.error}",
            "Workers share a page of memory with their parent there: make it writable (in "
            "Kubernetes an emptyDir of medium Memory).",
        )
    return ok("machine.shm", place.path, f"{_size(place.free_bytes)} free for shared pages")


def temporary_files(facts: MachineFacts) -> Finding:
    place = facts.temporary
    if place.error:
        return warning(
            "machine.temp",
            place.path,
            f"no file can be made there: {place.error}",
            "Mount a writable folder there (in Kubernetes an emptyDir), or name one.\n"
            "export TMPDIR=/path/to/a/folder",
        )
    if place.free_bytes < _LEAST_FREE_BYTES:
        return warning("machine.temp", place.path, "it is full", "Make room there.")
    return ok("machine.temp", place.path, f"writable, {_size(place.free_bytes)} free")


def _size(size_bytes: int) -> str:
    mib = size_bytes / _MIB
    return f"{mib / 1024:,.1f} GiB" if mib >= 1024 else f"{mib:,.0f} MiB"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
