"""``consumer doctor``: findings about the limits of a machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.doctor import machine_checks
from consumer_fleet.doctor.machine_checks import (
    Folder,
    MachineFacts,
    examine_machine,
    folder,
    free_processes,
    gather,
    memory_limit,
    needed_memory_mib,
)

MIB = 1024 * 1024
ROOMY = MachineFacts(
    cpus=4,
    memory_bytes=8192 * MIB,
    open_files=65536,
    free_processes=1000,
    shared_memory=Folder("/dev/shm", 64 * MIB),
    temporary=Folder("/tmp", 1000 * MIB),
)
DSN = "https://key@sentry.example/1"


def options(**given: object) -> Options:
    return resolve_options(OptionsRequest({"workers": 4, **given}), {}).options


# Facts


def cgroup(tmp_path: Path, line: str) -> Path:
    path = tmp_path / "self-cgroup"
    path.write_text(f"{line}\n")
    return path


def meminfo(tmp_path: Path, kib: int) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal:       {kib} kB\nMemFree:        17 kB\n")
    return path


def write(root: Path, **files: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(f"{text}\n")


def test_the_memory_limit_of_cgroup_v2_is_the_tightest_of_its_ancestors(tmp_path: Path) -> None:
    own = cgroup(tmp_path, "0::/pod/container")
    write(tmp_path / "root" / "pod" / "container", memory__max="max")
    write(tmp_path / "root" / "pod", memory__max=str(512 * MIB))
    limit = memory_limit(tmp_path / "root", own, meminfo(tmp_path, 8 * 1024 * 1024))
    assert limit == 512 * MIB


def test_the_memory_limit_of_cgroup_v1_counts_and_its_no_limit_does_not(tmp_path: Path) -> None:
    own = cgroup(tmp_path, "4:memory:/pod")
    group = tmp_path / "root" / "memory" / "pod"
    machine = meminfo(tmp_path, 2 * 1024 * 1024)
    write(group, memory__limit_in_bytes=str(256 * MIB))
    assert memory_limit(tmp_path / "root", own, machine) == 256 * MIB
    write(group, memory__limit_in_bytes="9223372036854771712")
    assert memory_limit(tmp_path / "root", own, machine) == 2048 * MIB


def test_without_any_figure_the_memory_limit_is_unknown(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert memory_limit(nowhere, nowhere, nowhere) is None


def test_the_processes_that_may_still_start_are_the_limit_less_those_there_are(
    tmp_path: Path,
) -> None:
    own = cgroup(tmp_path, "0::/pod")
    write(tmp_path / "root" / "pod", pids__max="100", pids__current="70")
    assert free_processes(tmp_path / "root", own) == 30
    write(tmp_path / "root" / "pod", pids__max="max")
    assert free_processes(tmp_path / "root", own) is None


def test_a_folder_is_tried_out_and_left_empty(tmp_path: Path) -> None:
    tried = folder(tmp_path)
    assert tried.error == ""
    assert tried.free_bytes > 0
    assert list(tmp_path.iterdir()) == []
    assert folder(tmp_path / "nowhere").error == "No such file or directory"


def test_this_machine_has_facts() -> None:
    facts = gather()
    assert facts.cpus >= 1
    assert facts.memory_bytes is None or facts.memory_bytes > 64 * MIB
    assert facts.open_files > 16 or facts.open_files == -1


# Checks


def test_a_roomy_machine_is_fine() -> None:
    given = options(upstream_dsn=DSN, saas_dsn=DSN, store_use_relay_dsn_sample_rate=1)
    found = [
        machine_checks.cpus(ROOMY, given.worker_count),
        machine_checks.memory(ROOMY, given),
        machine_checks.open_files(ROOMY, given),
        machine_checks.processes(ROOMY, given.worker_count),
        machine_checks.shared_memory(ROOMY),
        machine_checks.temporary_files(ROOMY),
    ]
    assert [finding.status for finding in found] == ["ok"] * 6
    assert {finding.fix for finding in found} == {""}


@pytest.mark.parametrize(("workers", "status"), [(8, "ok"), (9, "warning")])
def test_more_than_two_workers_per_cpu_are_a_warning(workers: int, status: str) -> None:
    finding = machine_checks.cpus(ROOMY, workers)
    assert finding.status == status
    assert f"{workers} workers on 4 usable CPUs" in finding.seen


def test_budgets_that_do_not_fit_into_the_memory_are_a_warning_with_both_figures() -> None:
    given = options(max_in_flight_mb=200)
    needed = needed_memory_mib(given)
    assert machine_checks.memory(replace(ROOMY, memory_bytes=needed * MIB), given).status == "ok"
    finding = machine_checks.memory(replace(ROOMY, memory_bytes=(needed - 1) * MIB), given)
    assert finding.status == "warning"
    assert f"needs up to {needed} MiB, the limit is {needed - 1} MiB" in finding.seen
    assert "max_in_flight_mb (200)" in finding.fix
    assert machine_checks.memory(replace(ROOMY, memory_bytes=None), given).status == "ok"


def test_the_memory_counts_the_budget_twice_and_best_effort_per_worker() -> None:
    less = needed_memory_mib(options(max_in_flight_mb=10))
    assert needed_memory_mib(options(max_in_flight_mb=20)) == less + 20
    best_effort = options(
        max_in_flight_mb=10,
        saas_dsn=DSN,
        saas_delivery="best-effort",
        best_effort_budget_mb=7,
    )
    assert needed_memory_mib(best_effort) == less + 4 * 7


def test_too_few_open_files_are_a_problem_that_a_power_of_two_fixes() -> None:
    given = options(upstream_dsn=DSN, saas_dsn=DSN, connections=500)
    facts = replace(ROOMY, open_files=1024)
    finding = machine_checks.open_files(facts, given)
    assert finding.status == "problem"
    assert finding.fix.splitlines()[-1] == "ulimit -n 2048"
    raised = replace(ROOMY, open_files=2048)
    assert machine_checks.open_files(raised, given).status == "ok"
    unlimited = machine_checks.open_files(replace(ROOMY, open_files=-1), given)
    assert (unlimited.status, "no limit" in unlimited.seen) == ("ok", True)
    one = options(upstream_dsn=DSN, connections=500)
    assert machine_checks.open_files(facts, one).status == "ok", "half as many destinations"


def test_a_limit_on_processes_that_the_workers_would_meet_is_a_problem() -> None:
    assert machine_checks.processes(replace(ROOMY, free_processes=60), 4).status == "ok"
    finding = machine_checks.processes(replace(ROOMY, free_processes=59), 4)
    assert finding.status == "problem"
    assert "59 more may start" in finding.seen


def test_without_shared_memory_the_temporary_folder_has_to_do() -> None:
    full = replace(ROOMY, shared_memory=Folder("/dev/shm", 0))
    assert machine_checks.shared_memory(full).subject == "/tmp"
    neither = replace(full, temporary=Folder("/tmp", 0, "Read-only file system"))
    assert machine_checks.shared_memory(neither).status == "problem"
    forbidden = replace(ROOMY, shared_memory=Folder("/dev/shm", 0, "Permission denied"))
    assert machine_checks.shared_memory(forbidden).status == "problem"


def test_a_temporary_folder_that_can_t_be_written_is_a_warning() -> None:
    facts = replace(ROOMY, temporary=Folder("/tmp", 0, "Read-only file system"))
    finding = machine_checks.temporary_files(facts)
    assert finding.status == "warning"
    assert "export TMPDIR=" in finding.fix


def test_the_versions_that_a_bug_report_needs_are_named() -> None:
    first, *others = examine_machine(options())
    for part in ("consumer-fleet/", "Python 3.", "librdkafka ", "libcurl ", "OpenSSL "):
        assert part in first.seen
    assert "?" not in first.seen
    assert len(others) == 6
