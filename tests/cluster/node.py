"""A real node: kubelet, containerd and a bridge. Several fit on one machine."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.cluster.control_plane import ControlPlane
from tests.cluster.image import PAUSE_IMAGE
from tests.cluster.leftovers import BRIDGE_PREFIX, UNIFIED, cgroups
from tests.support.go_tools import go_tool
from tests.support.processes import ManagedProcess, free_ports

_START_TIMEOUT_S = 120.0
# The cgroup v2 controllers that the kubelet needs in its root.
_CONTROLLERS = "+cpu +cpuset +io +memory +pids"
# The kubelet requires these. Only the node sees them: the machine keeps its own.
_KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
}


class Node:
    """Node ``number``, started by its constructor and ended by ``leftovers.remove``.

    Its pods have addresses in 10.244.<number>.0/24, and reach this machine at ``host_address``.
    All its mounts are in a mount namespace of its own.
    """

    def __init__(
        self, number: int, control_plane: ControlPlane, folder: Path, pause_image: Path
    ) -> None:
        self.name = f"node-{number}"
        self.folder = folder
        self.host_address = f"10.244.{number}.1"
        self.pod_logs = folder / "pod-logs"
        self._subnet = f"10.244.{number}.0/24"
        self._bridge = f"{BRIDGE_PREFIX}{number}"
        self._control_plane = control_plane
        self._socket = folder / "containerd.sock"
        self._processes: list[ManagedProcess] = []
        self._cgroup = f"{folder.parent.name}/{self.name}"
        folder.mkdir()
        self._make_bridge()
        self._make_cgroups()
        self._start_containerd()
        self.load_image(pause_image)
        self._start_kubelet()

    def load_image(self, archive: Path) -> None:
        """Load the images of a docker-archive file."""
        self._ctr("images", "import", str(archive))

    def pid_of(self, container_id: str) -> int:
        """Return the machine's process id of the container's first process."""
        for line in self._ctr("tasks", "list").splitlines():
            cells = line.split()
            if cells[0] == container_id:
                return int(cells[1])
        raise LookupError(f"no container {container_id} runs on {self.name}")

    # -- containerd -----------------------------------------------------------------------------

    def _start_containerd(self) -> None:
        (self.folder / "cni").mkdir()
        (self.folder / "cni/10-bridge.conflist").write_text(json.dumps(self._network()))
        config = self.folder / "containerd.toml"
        config.write_text(
            _CONTAINERD.format(folder=self.folder, socket=self._socket, pause=PAUSE_IMAGE)
        )
        # What containerd, its shims and the network plugins write to fixed paths is the node's.
        state = self.folder / "var-lib"
        state.mkdir()
        # Images live in memory: tens of thousands of files are slow to write and to delete.
        store = self.folder / "containerd"
        store.mkdir()
        script = [
            f"mount --bind {state} /var/lib",
            "mount -t tmpfs tmpfs /run",
            f"mount -t tmpfs tmpfs {store}",
        ]
        for name, value in _KERNEL_SETTINGS.items():
            file = self.folder / "kernel" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{value}\n")
            script.append(f"mount --bind {file} /proc/sys/{name}")
        script.append(f"exec containerd --config={config}")
        containerd = self._start(
            "containerd", ["unshare", "--mount", "sh", "-c", " && ".join(script)]
        )
        containerd.wait_ready(self._containerd_answers, timeout_s=_START_TIMEOUT_S)

    def _network(self) -> dict[str, object]:
        addresses = {
            "type": "host-local",
            "ranges": [[{"subnet": self._subnet, "gateway": self.host_address}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        # Not "isGateway", which would make the whole machine forward packets.
        bridge = {"type": "bridge", "bridge": self._bridge, "ipam": addresses}
        return {"cniVersion": "0.4.0", "name": self.name, "plugins": [bridge]}

    def _containerd_answers(self) -> bool:
        version = self._ctr_command("version")
        return subprocess.run(version, capture_output=True, check=False).returncode == 0

    def _ctr_command(self, *arguments: str) -> list[str]:
        return ["ctr", f"--address={self._socket}", "--namespace=k8s.io", *arguments]

    def _ctr(self, *arguments: str) -> str:
        run = subprocess.run(
            self._ctr_command(*arguments), capture_output=True, text=True, check=True
        )
        return run.stdout

    # -- kubelet --------------------------------------------------------------------------------

    def _start_kubelet(self) -> None:
        config = self.folder / "kubelet.json"
        config.write_text(json.dumps(self._kubelet_config()))
        containerd = self._processes[0]
        command = [
            # In containerd's mount namespace, so that containerd sees the volumes that it mounts.
            *("nsenter", f"--mount=/proc/{containerd.pid}/ns/mnt"),
            str(go_tool("kubelet")),
            f"--config={config}",
            f"--kubeconfig={self._control_plane.kubeconfig}",
            f"--root-dir={self.folder}/kubelet",
            f"--cert-dir={self.folder}/kubelet-certs",
            f"--hostname-override={self.name}",
            f"--node-ip={self.host_address}",
            # The chart's topology constraints use these.
            f"--node-labels=topology.kubernetes.io/zone={self.name}",
        ]
        self._start("kubelet", command).wait_ready(self._is_ready, timeout_s=_START_TIMEOUT_S)

    def _kubelet_config(self) -> dict[str, object]:
        (port,) = free_ports(1)
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._cgroup}",
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            # For kubectl's logs and exec; the port is open to this machine and its pods only.
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": f"unix://{self._socket}",
            "volumePluginDir": str(self.folder / "volume-plugins"),
            "podLogsDir": str(self.pod_logs),
            "resolvConf": "/dev/null",
            "clusterDNS": [self.host_address],
            "nodeStatusUpdateFrequency": "2s",
            "syncFrequency": "2s",
            "evictionHard": {"memory.available": "100Mi"},
            "makeIPTablesUtilChains": False,
            "address": self.host_address,
            "port": port,
            "healthzPort": 0,
            "maxPods": 60,
        }

    def _is_ready(self) -> bool:
        ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        return (
            "True"
            in self._control_plane.try_kubectl("get", "node", self.name, "--output", ready).stdout
        )

    # -- the machine ----------------------------------------------------------------------------

    def _start(self, name: str, command: list[str]) -> ManagedProcess:
        process = ManagedProcess(
            name, command, log=self.folder / f"{name}.log", env=os.environ, cwd=self.folder
        )
        self._processes.append(process)
        return process

    def _make_bridge(self) -> None:
        """Create the bridge before the kubelet starts: its address is the node's."""
        for command in (
            ["ip", "link", "add", self._bridge, "type", "bridge"],
            ["ip", "address", "add", f"{self.host_address}/24", "dev", self._bridge],
            ["ip", "link", "set", self._bridge, "up"],
        ):
            subprocess.run(command, check=True, capture_output=True)

    def _make_cgroups(self) -> None:
        """Create a root per node: a kubelet removes the cgroups of pods that it does not know."""
        for root in cgroups(self._cgroup):
            for folder in (root.parent, root):
                folder.mkdir(exist_ok=True)
                if UNIFIED:
                    (folder.parent / "cgroup.subtree_control").write_text(_CONTROLLERS)
                elif (folder / "cpuset.cpus").exists():
                    for name in ("cpuset.cpus", "cpuset.mems"):
                        (folder / name).write_text((folder.parent / name).read_text())


_CONTAINERD = """
version = 2
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""
