"""The chart on the cluster: install, upgrade, watch and remove it."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster
from tests.cluster.image import REPOSITORY, TAG
from tests.support.chart_files import CHART

NAME = "consumer-fleet"
_SECRET = "destinations"
_READY_TIMEOUT_S = 240


class Release:
    """One release of the chart in a namespace of its own, which admits ``restricted`` pods only.

    ``consumers`` are the chart's values of that name.
    """

    def __init__(self, cluster: Cluster, brokers: str, dsn: str, folder: Path) -> None:
        self.cluster = cluster
        self.namespace = f"fleet-{uuid.uuid4().hex[:8]}"
        self._brokers = brokers
        self._values_file = folder / "values.json"
        cluster.kubectl("create", "namespace", self.namespace)
        levels = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn")]
        cluster.kubectl("label", "namespace", self.namespace, *levels)
        self.kubectl("create", "secret", "generic", _SECRET, f"--from-literal=upstream={dsn}")

    def install(
        self, consumers: Mapping[str, object], *, wait: bool = True, **others: object
    ) -> float:
        """Run ``helm install`` and wait until every pod is ready; return the seconds.

        ``others`` are values besides the consumers.
        """
        return self._helm("install", {"consumers": consumers, **others}, wait=wait)

    def upgrade(self, consumers: Mapping[str, object]) -> float:
        """Run ``helm upgrade`` and wait until the rollout is done; return the seconds."""
        return self._helm("upgrade", {"consumers": consumers}, wait=True)

    def test(self) -> subprocess.CompletedProcess[str]:
        return self.cluster.helm(
            "test", NAME, f"--namespace={self.namespace}", "--logs", "--timeout=120s"
        )

    def notes(self) -> str:
        """Return the notes that ``helm install`` printed."""
        return self.cluster.helm("get", "notes", NAME, f"--namespace={self.namespace}").stdout

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl(
            f"--namespace={self.namespace}", *arguments, timeout_s=_READY_TIMEOUT_S + 30
        )

    def pods(self, consumer: str) -> list[dict[str, Any]]:
        """Return the consumer's pods that are not terminating, by name."""
        items = self.cluster.get(
            "pods",
            f"--namespace={self.namespace}",
            f"--selector=app.kubernetes.io/component={consumer}",
        )["items"]
        alive = [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]
        return sorted(alive, key=name_of)

    def pod(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.get("pod", name, f"--namespace={self.namespace}")
        return found

    def exec(self, pod: str, script: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script inside the consumer's container."""
        place = (f"--namespace={self.namespace}", pod, "--container=consumer")
        return self.cluster.try_kubectl("exec", *place, "--", "sh", "-c", script)

    def remove(self) -> None:
        """Uninstall the release, without waiting for the namespace to end."""
        self.cluster.helm("uninstall", NAME, f"--namespace={self.namespace}")
        self.kubectl("delete", "pods", "--all", "--grace-period=2")
        self.cluster.kubectl("delete", "namespace", self.namespace, "--wait=false")

    def _helm(self, command: str, values: Mapping[str, object], *, wait: bool) -> float:
        self._values_file.write_text(json.dumps({**self._common_values(), **values}))
        waiting = ["--wait", f"--timeout={_READY_TIMEOUT_S}s"] if wait else []
        place = (f"--namespace={self.namespace}", f"--values={self._values_file}")
        started = time.monotonic()
        run = self.cluster.helm(command, NAME, str(CHART), *place, *waiting)
        if run.returncode:
            raise AssertionError(
                f"helm {command}: {run.stdout}{run.stderr}\n{self.cluster.describe()}"
            )
        # helm --wait accepts the number that a rollout leaves available: with one pod, zero.
        for workload in self.kubectl("get", "deployments,statefulsets", "--output=name").split():
            if wait:
                self.kubectl("rollout", "status", workload, f"--timeout={_READY_TIMEOUT_S}s")
        return time.monotonic() - started

    def _common_values(self) -> dict[str, object]:
        return {
            "image": {"repository": REPOSITORY, "tag": TAG, "pullPolicy": "Never"},
            "kafka": {"bootstrapServers": [self._brokers]},
            "upstream": {"existingSecret": {"name": _SECRET, "key": "upstream"}},
            # Everything must fit on two small nodes.
            "defaults": {"resources": {"requests": {"cpu": "50m"}}},
        }


def name_of(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["name"])


def container_of(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the state of the pod's consumer container, as Kubernetes reports it."""
    for status in pod["status"].get("containerStatuses", ()):
        if status["name"] == "consumer":
            found: dict[str, Any] = status
            return found
    return {"ready": False, "restartCount": 0, "state": {}, "lastState": {}}


def is_ready(pod: dict[str, Any]) -> bool:
    return bool(container_of(pod)["ready"])
