"""deploy/compose.yaml, as far as it can be judged without Docker."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no type information
import pytest
import yaml

from consumer_fleet.bootstrap.option_checks import delivery_mode
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.consumers.registry import CONSUMERS
from tests.support.go_modules import module_folder
from tests.support.requirements import MissingPart, require

_FILE = Path(__file__).resolve().parents[2] / "deploy/compose.yaml"
_COMPOSE: dict[str, Any] = yaml.safe_load(_FILE.read_text())
_SERVICES: dict[str, dict[str, Any]] = _COMPOSE["services"]
_CONSUMERS = {
    name: service
    for name, service in _SERVICES.items()
    if service["image"].startswith("consumer-fleet:")
}
_SCHEMA_MODULE = "github.com/compose-spec/compose-go/v2@v2.16.2"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    try:
        folder = module_folder(_SCHEMA_MODULE)
    except MissingPart as missing:
        require("the Compose Specification's schema", str(missing))
    found: dict[str, Any] = json.loads((folder / "schema/compose-spec.json").read_text())
    return found


def test_it_follows_the_compose_specification(schema: dict[str, Any]) -> None:
    jsonschema.validate(_COMPOSE, schema)


def test_the_specification_finds_a_mistake(schema: dict[str, Any]) -> None:
    wrong = {**_COMPOSE, "services": {"kafka": {"image": "kafka", "healthchek": {}}}}
    with pytest.raises(jsonschema.ValidationError, match="healthchek"):
        jsonschema.validate(wrong, schema)


def test_what_it_leans_on_is_there() -> None:
    for service in _SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(_SERVICES)
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in _COMPOSE["volumes"]
        for condition in service.get("depends_on", {}).items():
            waits_for_health = condition[1]["condition"] == "service_healthy"
            assert not waits_for_health or "healthcheck" in _SERVICES[condition[0]]


def test_the_beginning_says_how_to_give_what_has_no_default() -> None:
    text = _FILE.read_text()
    needed = set(re.findall(r"\$\{(\w+):\?", text))
    assert needed
    assert {name for name in needed if f"{name}=%s" not in text} == set()


@pytest.mark.parametrize("name", _CONSUMERS)
def test_the_program_takes_what_a_consumer_is_given(name: str) -> None:
    service = _CONSUMERS[name]
    environ = {key: _interpolated(value) for key, value in service["environment"].items()}
    options = resolve_options(OptionsRequest(), environ).options
    assert delivery_mode(options) == "real"
    command, flag, topic = service["command"]
    assert (command, flag) == ("run", "--topic")
    assert topic in {definition.name for definition in CONSUMERS}
    assert topic in _SERVICES["topics"]["command"][0]
    assert int(service["stop_grace_period"].removesuffix("s")) >= options.shutdown_timeout + 15
    assert str(options.healthcheck_file) in service["healthcheck"]["test"][1]


def _interpolated(value: str) -> str:
    """As Compose does where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


@pytest.mark.parametrize(("age_s", "is_healthy"), [(0, True), (61, False), (None, False)])
def test_the_health_check_asks_how_old_the_heartbeat_is(
    age_s: int | None, is_healthy: bool, tmp_path: Path
) -> None:
    heartbeat = tmp_path / "heartbeat"
    if age_s is not None:
        heartbeat.touch()
        os.utime(heartbeat, (heartbeat.stat().st_mtime - age_s,) * 2)
    script = _SERVICES["envelopes"]["healthcheck"]["test"][1].replace("$$", "$")
    run = subprocess.run(
        ["sh", "-c", script.replace("/tmp/consumer-health", str(heartbeat))],
        capture_output=True,
        check=False,
    )
    assert (run.returncode == 0) == is_healthy


def test_its_project_has_the_key_of_the_consumers_dsn(tmp_path: Path) -> None:
    """Bugsink's own code with its image's settings, as the service `project` runs it."""
    spec = importlib.util.find_spec("bugsink")
    if spec is None or spec.origin is None:
        require("Bugsink", "the package bugsink is not installed (make setup installs it)")
    settings = Path(spec.origin).with_name("conf_templates") / "docker.py.template"
    shutil.copy(settings, tmp_path / "bugsink_conf.py")
    service = _SERVICES["project"]
    environ = {
        **os.environ,
        **service["environment"],
        "SECRET_KEY": "x" * 64,
        "DATABASE_PATH": str(tmp_path / "db.sqlite3"),
        "DJANGO_SETTINGS_MODULE": "bugsink_conf",
        "PYTHONPATH": str(tmp_path),
    }
    entrypoint: list[str] = service["entrypoint"]
    arguments = [*entrypoint[1:], *service["command"]]
    manage = str(Path(sys.executable).with_name(entrypoint[0]))
    # Twice, as after `docker compose down` and `up`.
    for command in (["migrate", "--verbosity=0"], arguments, arguments):
        subprocess.run([manage, *command], env=environ, cwd=tmp_path, check=True)
    with sqlite3.connect(tmp_path / "db.sqlite3") as database:
        projects = database.execute("SELECT id, sentry_key FROM projects_project").fetchall()
    dsn = _interpolated(_CONSUMERS["envelopes"]["environment"]["CONSUMER_UPSTREAM_DSN"])
    assert [(f"http://{key}@bugsink:8000/{number}") for number, key in projects] == [dsn]
