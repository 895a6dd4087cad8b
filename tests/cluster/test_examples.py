"""The chart's examples, judged by a real API server that knows KEDA and prometheus-operator."""

from __future__ import annotations

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
        raise
    named = [f"--filename={file}" for file in files]
    cluster.kubectl("apply", "--server-side", *named)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", *named)
    yield
    cluster.kubectl("delete", *named)


@pytest.mark.usefixtures("custom_resources")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_accepted_by_the_api_server(
    scene: Scene, figure: Figure, example: Path
) -> None:
    place = f"--namespace={scene.release.namespace}"
    rendered = scene.cluster.helm(
        *("template", "fleet", str(CHART), place, f"--values={example}", "--no-hooks")
    )
    assert rendered.returncode == 0, rendered.stderr
    applied = scene.cluster.try_kubectl(
        *("apply", "--server-side", "--dry-run=server", "--filename=-", place),
        stdin=rendered.stdout,
    )
    assert applied.returncode == 0, applied.stderr
    # A workload is only warned of what its pods will be refused for.
    assert "would violate PodSecurity" not in applied.stderr
    objects = applied.stdout.splitlines()
    assert len(objects) > 2
    figure("accepted", f"{len(objects)} objects")
