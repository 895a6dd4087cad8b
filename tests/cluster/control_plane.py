"""The real etcd, API server, controllers and scheduler, on loopback."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from pathlib import Path

from tests.support.go_tools import go_tool
from tests.support.processes import ManagedProcess, free_ports

_START_TIMEOUT_S = 90.0


class ControlPlane:
    """A control plane that the constructor starts; ``stop`` it. Its state ends with the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self._token = secrets.token_hex(16)
        etcd_port, peer_port, self._port = free_ports(3)
        self._processes: list[ManagedProcess] = []
        self._start_etcd(etcd_port, peer_port)
        self._write_keys()
        self._start_api_server(etcd_port)
        self._start(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            f"--service-account-private-key-file={folder}/service-account.key",
            f"--root-ca-file={folder}/certs/apiserver.crt",
            "--leader-elect=false",
            # Notice a lost node within seconds.
            "--node-monitor-period=1s",
            "--node-monitor-grace-period=10s",
            "--secure-port=0",
        )
        self._start(
            "kube-scheduler",
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--secure-port=0",
        )

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = 120) -> str:
        """Return kubectl's output. Raises AssertionError with its error."""
        run = self.try_kubectl(*arguments, stdin=stdin, timeout_s=timeout_s)
        if run.returncode:
            raise AssertionError(
                f"kubectl {' '.join(arguments)}: {run.returncode}\n{run.stdout}{run.stderr}"
            )
        return run.stdout

    def try_kubectl(
        self, *arguments: str, stdin: str | None = None, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(go_tool("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.kill()

    def _start(self, program: str, *arguments: str) -> ManagedProcess:
        process = ManagedProcess(
            program,
            [str(go_tool(program)), *arguments],
            log=self.folder / f"{program}.log",
            env=os.environ,
            cwd=self.folder,
        )
        self._processes.append(process)
        return process

    def _start_etcd(self, port: int, peer_port: int) -> None:
        etcd = ManagedProcess(
            "etcd",
            [
                "etcd",
                f"--data-dir={self.folder}/etcd",
                f"--listen-client-urls=http://127.0.0.1:{port}",
                f"--advertise-client-urls=http://127.0.0.1:{port}",
                f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
                "--unsafe-no-fsync",  # the run needs no durability
            ],
            log=self.folder / "etcd.log",
            env=os.environ,
            cwd=self.folder,
        )
        self._processes.append(etcd)

    def _write_keys(self) -> None:
        subprocess.run(
            ["openssl", "genrsa", "-out", str(self.folder / "service-account.key"), "2048"],
            capture_output=True,
            check=True,
        )
        (self.folder / "tokens.csv").write_text(f'{self._token},admin,admin,"system:masters"\n')

    def _start_api_server(self, etcd_port: int) -> None:
        key = f"{self.folder}/service-account.key"
        server = self._start(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd_port}",
            f"--token-auth-file={self.folder}/tokens.csv",
            "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--cert-dir={self.folder}/certs",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            "--kubelet-preferred-address-types=InternalIP",
        )
        self._write_kubeconfig()
        server.wait_ready(self._answers, timeout_s=_START_TIMEOUT_S)

    def _answers(self) -> bool:
        return self.try_kubectl("get", "--raw", "/readyz").returncode == 0

    def _write_kubeconfig(self) -> None:
        server = {
            "server": f"https://127.0.0.1:{self._port}",
            "insecure-skip-tls-verify": True,  # its certificate is made at its start
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": server}],
            "users": [{"name": "admin", "user": {"token": self._token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
        self.kubeconfig.write_text(json.dumps(config))
