"""The image itself: its size, user and labels."""

from __future__ import annotations

import tomllib

from tests.cluster.conftest import Figure
from tests.cluster.image import Image
from tests.support.wheel import ROOT

_MOST_MIB = 250


def test_the_image_is_small_and_says_what_it_is(image: Image, figure: Figure) -> None:
    base, *own = image.layers_mib()
    figure("build", f"{image.build_s:.0f} s, with the base and unchanged layers kept")
    figure("size", f"{sum(own):.0f} MiB over a base of {base:.0f} MiB")
    assert sum(own) < _MOST_MIB
    settings = image.settings()
    assert settings["User"] == "10001:10001"
    assert settings["Entrypoint"] == ["consumer"]
    labels = settings["Labels"]
    assert isinstance(labels, dict)
    assert labels["org.opencontainers.image.title"] == "consumer-fleet"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert labels["org.opencontainers.image.version"] == project["version"]
