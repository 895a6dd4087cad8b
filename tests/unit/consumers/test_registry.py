"""The registry: this program's consumers, and those of other distributions."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sentry_kafka_schemas import list_topics

from consumer_fleet.consumers import registry
from consumer_fleet.consumers.registry import CONSUMERS, NOT_CARRIED, get
from consumer_fleet.errors import ConfigurationError, RejectedMessage
from tests.support.messages import message

NAMES = [definition.name for definition in CONSUMERS]

# Adds a distribution with one entry point: its name, the entry point's, and the module's text.
Install = Callable[[str, str, str], None]

CLICKS = """
from consumer_fleet.consumers.format import JsonFormat
from consumer_fleet.consumers.registry import ConsumerDefinition

class Clicks(JsonFormat):
    pass

CONSUMER = ConsumerDefinition("clicks", "Clicks of a shop", f"{__name__}:Clicks", "shop-clicks")
"""


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    def add(name: str, entry: str, module: str) -> None:
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            f"[{registry.ENTRY_POINT_GROUP}]\n{entry} = module_of_{name}:CONSUMER\n"
        )
        (tmp_path / f"module_of_{name}.py").write_text(module)
        sys.modules.pop(f"module_of_{name}", None)
        registry.forget_installed()

    monkeypatch.syspath_prepend(str(tmp_path))
    yield add
    monkeypatch.undo()
    registry.forget_installed()


def test_the_consumers_are_those_that_the_documentation_names() -> None:
    assert NAMES == [
        "events",
        "transactions",
        "ingest-events",
        "ingest-transactions",
        "ingest-feedback-events",
        "ingest-attachments",
        "ingest-replay-recordings",
        "ingest-monitors",
        "profiles",
        "envelopes",
    ]
    assert registry.names() == NAMES
    assert tuple(registry.every_consumer()) == CONSUMERS
    assert registry.skipped_consumers() == ()


@pytest.mark.parametrize("name", NAMES)
def test_a_consumer_has_a_group_of_its_own(name: str) -> None:
    assert get(name).default_group == f"consumer-fleet-{name}"


@pytest.mark.parametrize("name", NAMES)
def test_every_codec_decodes_after_a_trip_into_another_process(name: str) -> None:
    decode = pickle.loads(pickle.dumps(get(name).decode))
    with pytest.raises(RejectedMessage, match="tombstone"):
        decode(message(None))


def test_a_topic_of_sentry_is_either_carried_or_has_a_reason() -> None:
    carried = {each.logical_topic for each in CONSUMERS}
    assert not carried & NOT_CARRIED.keys()
    known = set(list_topics())
    assert NOT_CARRIED.keys() <= known
    # Relay's and Snuba's data; the others are results, commit logs and dead letters.
    written = {name for name in known if name.startswith("ingest-") and "generic" not in name}
    written = {name for name in written if not name.endswith(("-dlq", "-backlog"))}
    assert written - {"ingest-attachments"} <= carried | NOT_CARRIED.keys()


def test_the_sets_hold_what_relay_and_what_sentry_writes() -> None:
    sets = {each.name: each.topic_set for each in CONSUMERS}
    assert {name for name, found in sets.items() if found == "processed"} == {
        "events",
        "transactions",
    }
    assert sets["envelopes"] is None
    assert sets["profiles"] == sets["ingest-monitors"] == "ingest"


def test_an_unknown_name_lists_the_known_ones_and_the_closest() -> None:
    with pytest.raises(ConfigurationError) as caught:
        get("ingest-event")
    assert "did you mean 'ingest-events'?" in str(caught.value)
    assert f"Known consumers: {', '.join(NAMES)}." in str(caught.value)


def test_a_name_unlike_any_other_is_not_guessed_at() -> None:
    with pytest.raises(ConfigurationError) as caught:
        get("zzz")
    assert "did you mean" not in str(caught.value)


def test_listing_consumers_does_not_import_their_parsers() -> None:
    code = (
        "import sys, consumer_fleet.consumers.registry as r;"
        "[(d.name, d.logical_topic, d.description) for d in r.every_consumer()];"
        "sys.exit('msgpack' in sys.modules or 'consumer_fleet.consumers.events' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_another_distribution_adds_a_consumer(distribution: Install) -> None:
    distribution("shop", "clicks", CLICKS)
    assert registry.names() == [*NAMES, "clicks"]
    definition = get("clicks")
    assert (definition.logical_topic, definition.default_group) == (
        "shop-clicks",
        "consumer-fleet-clicks",
    )
    assert [each.name for each in registry.every_consumer()] == [*NAMES, "clicks"]
    assert registry.find("shop-clicks") is None
    envelope = pickle.loads(pickle.dumps(definition.decode))(message(b'{"a":1}'))
    assert [item.type for item in envelope.items] == ["event"]
    with pytest.raises(ConfigurationError, match="did you mean 'clicks'"):
        get("click")


@pytest.mark.parametrize(
    ("entry", "module", "problem"),
    [
        ("clicks", "import nothing_of_that_name", "can't be loaded: ModuleNotFoundError"),
        ("clicks", "def broken(:", "can't be loaded: SyntaxError"),
        ("clicks", "raise SystemExit(3)", "can't be loaded: SystemExit"),
        ("clicks", "", "can't be loaded: AttributeError"),
        ("clicks", "CONSUMER = 7", "is a int, not a ConsumerDefinition"),
        ("taps", CLICKS, "defines 'clicks'; give the entry point that name"),
        ("Clicks!", CLICKS, "'Clicks!' is not a valid name"),
        ("events", CLICKS, "the name is taken by a consumer of this program"),
    ],
)
def test_an_unusable_entry_point_is_skipped_and_explained(
    distribution: Install, entry: str, module: str, problem: str
) -> None:
    distribution("shop", entry, module)
    (skipped,) = registry.skipped_consumers()
    assert skipped.name == entry
    assert skipped.problem.startswith("shop")
    assert problem in skipped.problem
    assert tuple(registry.every_consumer()) == CONSUMERS
    if entry == "events":
        assert get(entry) is CONSUMERS[0]
        return
    with pytest.raises(ConfigurationError) as caught:
        get(entry)
    assert problem in str(caught.value)


def test_of_two_distributions_with_the_same_consumer_neither_is_used(
    distribution: Install,
) -> None:
    distribution("shop", "clicks", CLICKS)
    distribution("store", "clicks", CLICKS)
    with pytest.raises(ConfigurationError, match="shop and store both provide it"):
        get("clicks")
    assert registry.names() == [*NAMES, "clicks"]


def test_a_format_that_can_not_be_loaded_is_an_error_that_names_it(distribution: Install) -> None:
    distribution("shop", "clicks", CLICKS.replace(":Clicks", ":Absent"))
    with pytest.raises(ConfigurationError, match=r"module_of_shop:Absent' can't be loaded"):
        _ = get("clicks").decode
