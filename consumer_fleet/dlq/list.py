"""``consumer dlq list``: what there is, by reason or one by one."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consumer_fleet.dlq.options import (
    Topics,
    cluster_and_file_options,
    dead_letters_of,
    filter_options,
    place_of,
    selection_of,
    topic_options,
)

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import ClusterOptions
    from consumer_fleet.dlq.letters import Letter, Selection
    from consumer_fleet.dlq.replay_position import Tally
    from consumer_fleet.errors import RecordingError
_EPILOG = """
\b
Examples:
  consumer dlq list --topic ingest-events
  consumer dlq list --topic ingest-events --reason http_400 --since -1d
  consumer dlq list --topic ingest-events --each --limit 1000
  consumer dlq list --file dead.recording --json
"""
# A pipe has no width: nothing is cut, so that grep finds whole values.
_NO_WIDTH = 100_000
_MIN_WIDTH = 80
# What the JSON document calls its content: one for each, or by reason.
_KEYS = {True: "dead_letters", False: "reasons"}


@dataclass(slots=True)
class _Found:
    """``held`` counts the messages that are there; of a file, those that ``letters`` has read.
    ``chosen_by`` is for people.
    """

    name: str
    document: dict[str, Any]
    chosen_by: str
    letters: Iterable[Letter] = ()
    held: int = 0


@click.command("list", epilog=_EPILOG)
@topic_options
@cluster_and_file_options
@filter_options
@click.option("--each", is_flag=True, help="A line for each message, not a table by reason.")
@click.option("--limit", metavar="N", type=click.IntRange(0), help="With --each; default 100.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def list_command(
    cluster: ClusterOptions,
    topics: Topics,
    file: Path | None,
    each: bool,
    limit: int | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Count the dead letters by reason, or list each of them.

    Joins no group. Reads a file of them (--file) as well: an export, or what a replay rejected.
    """
    from consumer_fleet.dlq import listing

    if limit is not None and not each:
        raise click.UsageError("--limit goes with --each")
    most = 0 if not each else 100 if limit is None else limit
    documents: list[dict[str, Any]] = []

    def take(letter: Letter) -> None:
        if as_json:
            documents.append(listing.letter_document(letter))
        else:
            click.echo(listing.line(letter, _width()))

    with ExitStack() as stack:
        found = _open(stack, cluster, topics, file, chosen)
        if each and not as_json:
            click.echo(listing.head())
        tally, damage = _read(found.letters, most, take)
    if as_json:
        content = documents if each else listing.as_document(tally)
        _print_document(found, tally, damage is None, {_KEYS[each]: content})
    elif not each:
        _print_table(found, tally, is_whole=damage is None)
    elif tally.total > most:
        click.echo(f"{tally.total - most:,} more: --limit {tally.total} lists them all", err=True)
    if damage is not None:
        raise damage


def _read(
    letters: Iterable[Letter], most: int, take: Callable[[Letter], None]
) -> tuple[Tally, RecordingError | None]:
    """Counts the letters and takes the first of them. Of a damaged file, those that are readable
    are shown first, and then why that is not all.
    """
    from consumer_fleet.dlq.replay_position import Tally
    from consumer_fleet.errors import RecordingError

    tally = Tally()
    try:
        for letter in letters:
            tally.add(letter)
            if tally.total <= most:
                take(letter)
    except RecordingError as error:
        return tally, error
    return tally, None


def _print_document(found: _Found, tally: Tally, is_whole: bool, content: dict[str, Any]) -> None:
    facts = {"total": tally.total, "not_dead_letters": tally.strangers, "complete": is_whole}
    click.echo(json.dumps({**found.document, **facts, **content}))


def _print_table(found: _Found, tally: Tally, *, is_whole: bool) -> None:
    from consumer_fleet.dlq import listing

    if not tally.total:
        click.echo(_nothing(found) if is_whole else f"{found.name}: nothing to list is readable.")
        return
    left = found.document.get("not_replayed")
    not_replayed = "" if left is None else f", {left:,} of all are not replayed"
    readable = "" if is_whole else ", as far as it is readable"
    click.echo(f"{tally.counted} in {found.name}{readable}{not_replayed}\n")
    for line in listing.table(tally, _width()):
        click.echo(line)


def _nothing(found: _Found) -> str:
    if not found.held:
        return f"No dead letters in {found.name}."
    return f"None of the {found.held:,} messages in {found.name} matches: {found.chosen_by}."


def _open(
    stack: ExitStack,
    cluster: ClusterOptions,
    topics: Topics,
    file: Path | None,
    chosen: dict[str, Any],
) -> _Found:
    from consumer_fleet.dlq.letters import LettersTopic, letters_in
    from consumer_fleet.dlq.replay_position import standing
    from consumer_fleet.kafka.offset_spec import EARLIEST, LATEST
    from consumer_fleet.recording.reader import Recording

    selection = selection_of(chosen["reasons"], chosen["origin"])
    places = [f"{name} {chosen[name]}" for name in ("since", "until") if chosen[name] is not None]
    chosen_by = ", ".join([*([] if selection.is_everything else [str(selection)]), *places])
    if file is not None:
        if places:
            raise click.UsageError("--since and --until name places of a topic, not of a file")
        found = _Found(str(file), {"file": str(file)}, chosen_by)
        found.letters = _chosen_of(letters_in(Recording(file)), selection, found)
        return found
    place = dead_letters_of(topics, cluster)
    stands = standing(cluster.kafka, place)
    start = place_of(chosen["since"], EARLIEST)
    end = place_of(chosen["until"], LATEST)
    reader = stack.enter_context(LettersTopic(cluster.kafka, place.name, start=start, end=end))
    letters = filter(selection.takes, reader.letters())
    document = {"topic": place.name, "group": place.group, "not_replayed": stands.left}
    return _Found(place.name, document, chosen_by, letters, stands.held)


def _chosen_of(letters: Iterable[Letter], selection: Selection, found: _Found) -> Iterator[Letter]:
    for letter in letters:
        found.held += 1
        if selection.takes(letter):
            yield letter


def _width() -> int:
    """Of the terminal; a narrow one wraps rather than loses what matters."""
    if not sys.stdout.isatty():
        return _NO_WIDTH
    return max(_MIN_WIDTH, shutil.get_terminal_size((_MIN_WIDTH, 24)).columns)
