"""Remove everything that a cluster created on this machine, even after its tests were killed.

Mounts need no removal: the nodes have mount namespaces of their own, which end with them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import wait_until

# The prefix of all names: folders, cgroups. Links are limited to 15 characters.
PREFIX = "fleet-cluster-"
BRIDGE_PREFIX = "fleet-br"
_CGROUPS = Path("/sys/fs/cgroup")
# Cgroup v2 alone; otherwise each controller has a hierarchy of its own.
UNIFIED = (_CGROUPS / "cgroup.controllers").exists()
_END_TIMEOUT_S = 30.0
# The programs of a cluster: another program, such as an editor, may name the folder too.
_PROGRAMS = ("containerd", "containerd-shim", "etcd", "kube", "unshare")


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """Create the folder of this machine's one cluster; remove what others left behind first.

    Its path is short: a Unix socket's is limited to 107 characters. Raises RuntimeError while
    another run has a cluster.
    """
    temporary = Path(tempfile.gettempdir())
    with (temporary / f"{PREFIX}lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError("another run on this machine has a cluster: wait for it") from error
        for left_over in temporary.glob(f"{PREFIX}*/"):
            remove(left_over)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        try:
            yield folder
        finally:
            remove(folder)


def remove(folder: Path) -> None:
    """End the processes that name the folder, then remove links, cgroups and the folder."""
    killed: list[int] = []
    for entry in (path for path in Path("/proc").iterdir() if path.name.isdecimal()):
        with contextlib.suppress(OSError):
            arguments = (entry / "cmdline").read_text(errors="replace").split("\0")
            is_part = Path(arguments[0]).name.startswith(_PROGRAMS)
            if is_part and any(str(folder) in argument for argument in arguments):
                killed += _kill_tree(int(entry.name))
    wait_until(
        # A zombie has no cgroup any more, and waits for its parent alone.
        lambda: not any(_runs(pid) for pid in killed),
        timeout_s=_END_TIMEOUT_S,
        what=f"the processes of {folder} to end",
    )
    for link in Path("/sys/class/net").glob(f"{BRIDGE_PREFIX}*"):
        for port in (link / "brif").glob("*"):
            _delete_link(port.name)
        _delete_link(link.name)
    for cgroup in cgroups(folder.name):
        _remove_cgroup(cgroup)
    shutil.rmtree(folder, ignore_errors=True)


def cgroups(name: str) -> list[Path]:
    """Return the folders of the cgroup of that name, one per hierarchy."""
    if UNIFIED:
        return [_CGROUPS / name]
    return [path / name for path in _CGROUPS.iterdir() if (path / "cgroup.procs").exists()]


def _kill_tree(pid: int) -> list[int]:
    """Kill a process and its descendants; return all of them."""
    killed = [pid]
    children = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    os.kill(pid, signal.SIGKILL)
    for child in (int(each) for some in children for each in some):
        with contextlib.suppress(OSError):
            killed += _kill_tree(child)
    return killed


def _runs(pid: int) -> bool:
    try:
        # "pid (name) state …", where the name may contain anything.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def _delete_link(name: str) -> None:
    # The pod's end of a pair goes with the pod's namespace, perhaps before this call.
    subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)


def _remove_cgroup(root: Path) -> None:
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())] if root.exists() else []
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()
