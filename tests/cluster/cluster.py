"""A cluster of two nodes with the fleet's image, and the tools that people use on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.cluster.control_plane import ControlPlane
from tests.cluster.image import build_pause_image
from tests.cluster.node import Node
from tests.cluster.pod_logs import PodLogs
from tests.support.go_tools import go_tool
from tests.support.processes import wait_until
from tests.support.requirements import MissingPart

_NODES = 2
_TOOLS = ("etcd", "containerd", "ctr", "runc", "unshare", "nsenter", "ip", "openssl")
_PLUGINS = Path("/usr/lib/cni")
_SETTINGS = ("net/ipv4/ip_forward", "vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic")


class Cluster:
    """Two nodes that the constructor starts, in seconds once the programs are built; ``close`` it.

    ``folder`` is that of ``leftovers.own_folder``.
    """

    def __init__(self, folder: Path) -> None:
        started = time.monotonic()
        for name in ("control-plane", "pause", "logs"):
            (folder / name).mkdir()
        self.control_plane = ControlPlane(folder / "control-plane")
        pause_image = build_pause_image(folder / "pause")
        self.nodes = [
            Node(number, self.control_plane, folder / f"node-{number}", pause_image)
            for number in range(1, _NODES + 1)
        ]
        self.logs = PodLogs([node.pod_logs for node in self.nodes], folder / "logs")
        self.start_s = time.monotonic() - started

    @property
    def host_address(self) -> str:
        """Return an address of this machine that pods of every node reach."""
        return self.nodes[0].host_address

    def load_image(self, archive: Path) -> None:
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda node: node.load_image(archive), self.nodes))

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = 120) -> str:
        return self.control_plane.kubectl(*arguments, stdin=stdin, timeout_s=timeout_s)

    def try_kubectl(
        self, *arguments: str, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        return self.control_plane.try_kubectl(*arguments, stdin=stdin)

    def get(self, *arguments: str) -> Any:
        """Return the parsed output of ``kubectl get … -o json``."""
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def helm(self, *arguments: str, timeout_s: float = 400) -> subprocess.CompletedProcess[str]:
        """Run ``helm …`` with its user data in the cluster's own folder."""
        home = str(self.control_plane.folder / "helm")
        return subprocess.run(
            [str(go_tool("helm")), *arguments],
            env={
                **os.environ,
                "HELM_DATA_HOME": home,
                "HELM_CACHE_HOME": home,
                "HELM_CONFIG_HOME": home,
                "KUBECONFIG": str(self.control_plane.kubeconfig),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )

    def node_of(self, pod: dict[str, Any]) -> Node:
        (node,) = (each for each in self.nodes if each.name == pod["spec"]["nodeName"])
        return node

    def wait_for(
        self, condition: Callable[[], bool], what: str, *, timeout_s: float = 120
    ) -> float:
        """Block until the condition holds; return the seconds that it took."""
        started = time.monotonic()
        try:
            wait_until(condition, timeout_s=timeout_s, what=what, interval_s=0.2)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.describe()}") from error
        return time.monotonic() - started

    def describe(self) -> str:
        """Describe the state as a person would look at it first."""
        pods = self.try_kubectl("get", "pods", "-A", "-o", "wide").stdout
        events = self.try_kubectl("get", "events", "-A", "--sort-by=.lastTimestamp").stdout
        return f"{pods}\n" + "\n".join(events.splitlines()[-25:])

    def close(self) -> None:
        """End the control plane and stop keeping logs; ``own_folder`` ends the rest."""
        self.logs.close()
        self.control_plane.stop()


def machine_settings() -> dict[str, str]:
    """Return the kernel settings of this machine that a node would change."""
    return {name: Path("/proc/sys", name).read_text() for name in _SETTINGS}


def check_machine() -> None:
    """Raise MissingPart if this machine can't run a cluster."""
    if os.geteuid() != 0:
        raise MissingPart("nodes are started by root")
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            raise MissingPart(f"{tool} is not installed (make test-cluster installs it)")
    if not (_PLUGINS / "bridge").exists():
        raise MissingPart(f"{_PLUGINS}/bridge is not installed (make test-cluster installs it)")
