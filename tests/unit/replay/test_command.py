"""The command line of ``consumer replay``: what it refuses, and in which words."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from consumer_fleet.replay.command import replay_command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--speed", "5y"), "'5y' is not a valid speed: use 1x, 10x or max"),
        (("--speed", "0"), "'0' is not a valid speed"),
        (("--speed", "inf"), "'inf' is not a valid speed"),
        ((), "name what to replay"),
        (("f", "--topic", "t"), "name what to replay"),
        (("f",), "say where to: --to-topic TOPIC, or --through CONSUMER"),
        (("f", "--to-topic", "t", "--through", "events"), "say where to"),
        (("f", "--through", "events", "--create"), "--create goes with --to-topic only"),
        (("f", "--to-topic", "t", "--workers", "2"), "--workers goes with --through only"),
        (("f", "--to-topic", "t", "--saas-dsn", "d"), "--saas-dsn goes with --through only"),
        (("f", "--to-topic", "t", "--transform", "m:f"), "--transform goes with --through only"),
        (("f", "--to-topic", "t", "--set", "workers=2"), "--workers goes with --through only"),
    ],
)
def test_a_command_line_that_contradicts_itself_is_refused(
    arguments: tuple[str, ...], message: str
) -> None:
    result = CliRunner().invoke(replay_command, arguments)
    assert result.exit_code == 2
    assert message in result.output
