"""The chart, as Helm renders it or refuses to."""

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
# The name that every test's release has, and with it the beginning of its objects' names.
RELEASE: Final = "fleet"
NAMESPACE: Final = "sentry"

Values = Mapping[str, Any]


def tool(program: str) -> str:
    """The path of one of the chart's tools; the test is skipped (in CI: fails) without it."""
    try:
        return str(go_tool(program))
    except MissingPart as missing:
        require(program, str(missing))
        raise


def try_render(values: Values | Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`helm template`, whatever it says. ``arguments`` are more of Helm's, as `--set=…`."""
    source = str(values) if isinstance(values, Path) else "-"
    return subprocess.run(
        [
            *(tool("helm"), "template", RELEASE, str(CHART)),
            *(f"--namespace={NAMESPACE}", f"--values={source}", *arguments),
        ],
        # JSON is YAML, and says exactly what is a number and what is a text.
        input=None if isinstance(values, Path) else json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
    )


def render_text(values: Values | Path) -> str:
    """All manifests, as Helm prints them."""
    run = try_render(values)
    assert run.returncode == 0, run.stderr
    return run.stdout


def render(values: Values | Path) -> list[dict[str, Any]]:
    """All objects that an installation makes."""
    return [each for each in yaml.safe_load_all(render_text(values)) if each]


def refusal(values: Values, *arguments: str) -> str:
    """What Helm says to values that it does not take; empty where it takes them."""
    run = try_render(values, *arguments)
    return run.stderr if run.returncode else ""
