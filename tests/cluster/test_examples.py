"""The chart's examples, judged by a real API server that knows KEDA and prometheus-operator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.conftest import Figure
from tests.cluster.scene import Scene
from tests.support.chart import EXAMPLES
from tests.support.chart_files import CHART
from tests.support.custom_resources import custom_resource_definitions
from tests.support.requirements import MissingPart, require


@pytest.fixture(scope="module")
def custom_resources(cluster: Cluster) -> Iterator[None]:
    try:
        files = custom_resource_definitions()
    except MissingPart as error:
        require("custom resources", str(error))
    named = [f"--filename={file}" for file in files]
    cluster.kubectl("apply", "--server-side", *named)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", *named)
    yield
    cluster.kubectl("delete", *named)


def _applied(scene: Scene, *values: str) -> list[str]:
    """Return the chart's objects that the API server would accept with these values."""
    place = f"--namespace={scene.release.namespace}"
    rendered = scene.cluster.helm("template", "fleet", str(CHART), place, *values, "--no-hooks")
    assert rendered.returncode == 0, rendered.stderr
    applied = scene.cluster.try_kubectl(
        *("apply", "--server-side", "--dry-run=server", "--filename=-", place),
        stdin=rendered.stdout,
    )
    assert applied.returncode == 0, applied.stderr
    # For a workload, the API server only warns about what it will refuse in its pods.
    assert "would violate PodSecurity" not in applied.stderr
    return applied.stdout.splitlines()


@pytest.mark.usefixtures("custom_resources")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_accepted_by_the_api_server(
    scene: Scene, figure: Figure, example: Path
) -> None:
    objects = _applied(scene, f"--values={example}")
    assert len(objects) > 2
    figure("accepted", f"{len(objects)} objects")


_OWN_CONTAINERS = {
    "annotations": {"reloader.stakater.com/auto": "true"},
    "initContainers": [{"name": "first", "image": "one"}],
    "extraContainers": [{"name": "beside", "image": "two"}],
    "resources": {"requests": {"memory": "1Gi"}},
}


def test_containers_of_a_users_own_are_as_restricted_as_the_consumers(scene: Scene) -> None:
    objects = _applied(
        scene,
        f"--values={CHART / 'examples/minimal.yaml'}",
        f"--set-json=defaults={json.dumps(_OWN_CONTAINERS)}",
    )
    assert len(objects) > 2
