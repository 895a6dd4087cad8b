"""Render the chart with Helm, or read why Helm refuses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.chart_files import CHART
from tests.support.go_tools import go_tool
from tests.support.requirements import MissingPart, require

EXAMPLES: Final = tuple(sorted((CHART / "examples").glob("*.yaml")))
# The release name of every test, and so the start of its objects' names.
RELEASE: Final = "fleet"
NAMESPACE: Final = "sentry"

Values = Mapping[str, Any]


def tool(program: str) -> str:
    """Return the path of one of the chart's tools; without it, skip the test (fail in CI)."""
    try:
        return str(go_tool(program))
    except MissingPart as missing:
        require(program, str(missing))


def try_render(values: Values | Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `helm template`, whatever its result. ``arguments`` are Helm's, like `--set=…`."""
    source = str(values) if isinstance(values, Path) else "-"
    return subprocess.run(
        [
            *(tool("helm"), "template", RELEASE, str(CHART)),
            *(f"--namespace={NAMESPACE}", f"--values={source}", *arguments),
        ],
        # JSON is YAML, and leaves no doubt about which values are numbers and which are strings.
        input=None if isinstance(values, Path) else json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
    )


def render_text(values: Values | Path) -> str:
    """Return all manifests as Helm prints them."""
    run = try_render(values)
    assert run.returncode == 0, run.stderr
    return run.stdout


def render(values: Values | Path) -> list[dict[str, Any]]:
    """Return all objects that an installation creates."""
    return [each for each in yaml.safe_load_all(render_text(values)) if each]


def refusal(values: Values, *arguments: str) -> str:
    """Return Helm's message for values that it refuses; empty where it accepts them."""
    run = try_render(values, *arguments)
    return run.stderr if run.returncode else ""
