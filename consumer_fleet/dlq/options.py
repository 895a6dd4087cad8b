"""The options that the commands of ``consumer dlq`` share."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from consumer_fleet.command_options import (
    Connection,
    complete_consumer,
    connection_options,
)

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import ClusterOptions
    from consumer_fleet.dlq.letters import DeadLetterTopic, Selection
    from consumer_fleet.kafka.offset_spec import OffsetSpec
#: What --topic and --dlq-topic say.
Topics: TypeAlias = tuple[str | None, str | None]


def topic_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--topic`` and ``--dlq-topic``, which the command gets as a pair, ``topics``."""

    @click.option(
        "--topic",
        metavar="T",
        shell_complete=complete_consumer,
        help="Consumer or topic: its dead letter topic.",
    )
    @click.option("--dlq-topic", metavar="D", help="The dead letter topic itself.")
    @functools.wraps(command)
    def with_topics(*, topic: str | None, dlq_topic: str | None, **others: Any) -> Any:
        return command(topics=(topic, dlq_topic), **others)

    return with_topics


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--reason``, ``--origin``, ``--since`` and ``--until``."""
    for option in (
        click.option("--until", metavar="PLACE", help="Only those before this place."),
        click.option("--since", metavar="PLACE", help="Only from here: a time, -2h, an offset."),
        click.option("--origin", metavar="TOPIC[/P]", help="Only those that came from there."),
        click.option("--reason", "reasons", metavar="R", multiple=True, help="Only this reason."),
    ):
        command = option(command)
    return command


def cluster_and_file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--file`` and the connection's options; a file needs no cluster.

    The command gets ``file`` and ``cluster``.
    """

    @click.option("--file", metavar="FILE", type=click.Path(path_type=Path), help="Read a file.")
    @connection_options
    @functools.wraps(command)
    def with_both(*, connection: Connection, file: Path | None, **others: Any) -> Any:
        return command(file=file, cluster=connection.resolve(required=file is None), **others)

    return with_both


def dead_letters_of(topics: Topics, cluster: ClusterOptions) -> DeadLetterTopic:
    from consumer_fleet.dlq.letters import dead_letter_topic

    return dead_letter_topic(*topics, cluster.options)


def selection_of(reasons: tuple[str, ...], origin: str | None) -> Selection:
    from consumer_fleet.dlq.letters import Selection

    return Selection.parse(reasons, origin)


def place_of(text: str | None, otherwise: OffsetSpec) -> OffsetSpec:
    """The place that an option names, or the one that is meant without it."""
    from consumer_fleet.kafka.offset_spec import parse_offset_spec

    return otherwise if text is None else parse_offset_spec(text, time.time())
