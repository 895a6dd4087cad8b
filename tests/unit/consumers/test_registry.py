"""The registry of consumers."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from consumer_fleet.consumers.registry import CONSUMERS, get
from consumer_fleet.errors import ConfigurationError, RejectedMessage
from tests.support.messages import message

NAMES = [definition.name for definition in CONSUMERS]


def test_the_consumers_are_those_that_the_documentation_names() -> None:
    assert NAMES == ["events", "ingest-events", "envelopes"]


@pytest.mark.parametrize("name", NAMES)
def test_a_consumer_has_a_group_of_its_own(name: str) -> None:
    assert get(name).default_group == f"consumer-fleet-{name}"


@pytest.mark.parametrize("name", NAMES)
def test_every_codec_decodes_after_a_trip_into_another_process(name: str) -> None:
    decode = pickle.loads(pickle.dumps(get(name).decode))
    assert decode.__func__ is get(name).decode.__func__  # type: ignore[attr-defined]  # bound methods
    with pytest.raises(RejectedMessage, match="tombstone"):
        decode(message(None))


def test_an_unknown_name_lists_the_known_ones_and_the_closest() -> None:
    with pytest.raises(ConfigurationError) as caught:
        get("ingest-event")
    assert "did you mean 'ingest-events'?" in str(caught.value)
    assert "events, ingest-events, envelopes" in str(caught.value)


def test_a_name_unlike_any_other_is_not_guessed_at() -> None:
    with pytest.raises(ConfigurationError) as caught:
        get("zzz")
    assert "did you mean" not in str(caught.value)


def test_listing_consumers_does_not_import_their_parsers() -> None:
    code = (
        "import sys, consumer_fleet.consumers.registry as r; [d.name for d in r.CONSUMERS];"
        "sys.exit('msgpack' in sys.modules or 'consumer_fleet.consumers.events' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
