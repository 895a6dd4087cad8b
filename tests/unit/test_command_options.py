"""One frozen request per command line, with the program's options in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from consumer_fleet.bootstrap.resolve import OptionsRequest
from consumer_fleet.command_options import (
    DELIVERY,
    program_option,
    program_options,
    resolve_cluster,
    takes,
)
from consumer_fleet.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class ShowRequest:
    options: OptionsRequest
    limit: int | None


@pytest.fixture
def shown() -> list[ShowRequest]:
    return []


@pytest.fixture
def show(shown: list[ShowRequest]) -> click.Command:
    @click.command("show")
    @click.option("--limit", type=int)
    @program_options(*DELIVERY, program_option("no_dlq", is_flag=True, default=None))
    @takes(ShowRequest)
    def show_command(request: ShowRequest) -> None:
        """Show."""
        shown.append(request)

    return show_command


def test_a_command_line_is_one_request(show: click.Command, shown: list[ShowRequest]) -> None:
    line = "--limit 3 --workers 2 --no-dlq --set group=g --kafka-config a.b=c --kafka-config d=e"
    result = CliRunner().invoke(show, [*line.split(), "--config", "config.yml"])
    assert result.exit_code == 0, result.output
    given = {"group": "g", "kafka_config.a.b": "c", "kafka_config.d": "e", "workers": 2}
    options = OptionsRequest({**given, "no_dlq": True}, Path("config.yml"))
    assert shown == [ShowRequest(options, limit=3)]


def test_unset_options_are_not_in_the_request(
    show: click.Command, shown: list[ShowRequest]
) -> None:
    result = CliRunner().invoke(show, [])
    assert result.exit_code == 0, result.output
    assert shown == [ShowRequest(OptionsRequest(), limit=None)]


def test_the_help_lists_the_options_in_the_order_that_the_command_gives(
    show: click.Command,
) -> None:
    names = [parameter.name for parameter in show.params]
    assert names == [
        "limit",
        "upstream_dsn",
        "saas_dsn",
        "workers",
        "bootstrap_servers",
        "kafka_config",
        "no_dlq",
        "config",
        "settings",
    ]
    assert show.help == "Show."


def test_a_kafka_property_without_a_value_is_an_error_that_does_not_repeat_it(
    show: click.Command,
) -> None:
    result = CliRunner().invoke(show, ["--kafka-config", "a=b", "--kafka-config", "hunter2"])
    assert result.exit_code == 2
    assert "number 2 is not NAME=VALUE" in result.output
    assert "hunter2" not in result.output


def test_a_command_that_needs_a_broker_says_how_to_name_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CONSUMER_BOOTSTRAP_SERVERS", raising=False)
    with pytest.raises(ConfigurationError, match="no Kafka broker is named"):
        resolve_cluster(OptionsRequest())
    assert resolve_cluster(OptionsRequest(), needs_broker=False).options.brokers == ""
    cluster = resolve_cluster(OptionsRequest({"bootstrap_servers": "k:9092"}))
    assert cluster.servers == "k:9092"
