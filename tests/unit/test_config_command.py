"""``consumer config``: every option, its value and its origin, and no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.bootstrap.sources import FIELDS
from consumer_fleet.config_command import config_command, example_yaml
from consumer_fleet.errors import ConfigurationError

SECRET = "hunter2-very-secret"


def run(*args: str, **environ: str) -> Result:
    clean = {"HOME": "/nonexistent", "XDG_CONFIG_HOME": None, "CONSUMER_CONF": None}
    return CliRunner().invoke(config_command, args, env={**clean, **environ})


def as_json(*args: str, **environ: str) -> dict[str, dict[str, Any]]:
    result = run("--json", *args, **environ)
    assert result.exit_code == 0, result.output
    parsed: dict[str, dict[str, Any]] = json.loads(result.stdout)
    return parsed


def test_every_option_is_shown_with_its_value_and_its_origin(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("workers: 3\n")
    given = ("--config", str(config), "--set", "max-in-flight-mb=8")
    shown = as_json(*given, CONSUMER_GROUP="mine")
    assert tuple(shown) == FIELDS
    assert shown["workers"] == {"value": 3, "origin": f"file {config}"}
    assert shown["max_in_flight_mb"] == {"value": 8, "origin": "command line"}
    assert shown["group"] == {"value": "mine", "origin": "environment CONSUMER_GROUP"}
    assert shown["connections"] == {"value": 64, "origin": "default"}
    lines = run(*given, CONSUMER_GROUP="mine").output.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(FIELDS)
    assert any(line.split() == ["workers", "3", "file", str(config)] for line in lines)


@pytest.mark.parametrize("form", ["--json", None])
def test_no_secret_is_shown(form: str | None) -> None:
    properties = {
        "sasl.password": SECRET,
        "sasl.username": SECRET,
        "ssl.key.pem": SECRET,
        "ssl.key.password": SECRET,
        "sasl.oauthbearer.client.secret": SECRET,
        "sasl.mechanism": "PLAIN",
    }
    result = run(
        *([form] if form else []),
        CONSUMER_KAFKA_CONFIG=json.dumps(properties),
        CONSUMER_UPSTREAM_DSN=f"https://{SECRET}:{SECRET}@sentry.example/1",
        CONSUMER_SNUBA_URL=f"http://user:{SECRET}@snuba:1218",
    )
    assert result.exit_code == 0
    assert SECRET not in result.output
    assert "PLAIN" in result.output
    assert "@sentry.example/1" in result.output
    assert "@snuba:1218" in result.output


def test_a_value_with_brackets_is_shown_as_it_is() -> None:
    assert "[red]" in run("--set", "group=[red]").output


def test_a_long_value_stays_on_its_line_in_a_pipe() -> None:
    brokers = ",".join(f"kafka-{number}.example:9092" for number in range(40))
    assert brokers.replace(",", ", ") in run("--set", f"bootstrap_servers={brokers}").output


def test_an_unknown_option_is_an_error_with_a_suggestion() -> None:
    result = run("--set", "wrokers=3")
    assert isinstance(result.exception, ConfigurationError)
    assert "did you mean workers?" in str(result.exception)


def test_the_example_changes_nothing_as_it_is(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(run("--example").stdout)
    resolved = resolve_options(OptionsRequest(config=config), {})
    assert resolved.options == Options()
    assert set(resolved.origins.values()) == {"default"}


def test_the_example_names_every_option_with_its_default_and_meaning(tmp_path: Path) -> None:
    text = example_yaml()
    uncommented = "\n".join(
        line[1:] for line in text.splitlines() if line.startswith("#") and line[1:2] != " "
    )
    assert tuple(yaml.safe_load(uncommented)) == FIELDS
    config = tmp_path / "config.yml"
    config.write_text(uncommented)
    assert resolve_options(OptionsRequest(config=config), {}).options == Options()
    joined = " ".join(text.replace("\n# ", " ").split())
    for field in Options.model_fields.values():
        assert " ".join((field.description or "").split()) in joined
    assert max(map(len, text.splitlines())) <= 100
