"""The user's transforms: what they see, what becomes of the message, and wrong ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from consumer_fleet.bootstrap.redaction import learn_option
from consumer_fleet.capture.envelope import Envelope, build, make_item
from consumer_fleet.codec import Skipped
from consumer_fleet.errors import ConfigurationError, RejectedMessage
from consumer_fleet.worker.transforms import Transforms
from tests.support.messages import TIMESTAMP_MS, message

EVENT_ID = "a" * 32
RAW = message(b"")
EVENT = {"event_id": EVENT_ID, "level": "error", "n": 1.5}

MODULE = """
import json, sys

def tag(event, hint):
    event["tags"] = [["where", f"{hint['topic']}/{hint['partition']}@{hint['offset']}"]]
    event["seen"] = [*event.get("seen", ()), sorted(hint)]
    return event

def drop(event, hint):
    return None

def fail(event, hint):
    return deeper(event)

def deeper(event):
    return event["secret of https://user:pass@host/"]

def leave(event, hint):
    sys.exit(3)

def odd(event, hint):
    return [event]

def unserialisable(event, hint):
    return event | {"x": object()}

def renamed(event, hint):
    return event | {"event_id": "b" * 32}

def deep(event, hint):
    return deep(event, hint)

def note(event, hint):
    return event | {"type_seen": hint["item_type"]}

note.item_types = ["transaction", "feedback"]

def greedy(event, hint): ...
greedy.item_types = ("event", "session")

def single(event, hint): ...
single.item_types = "event"

class Rules:
    item_types = ("event",)
    def apply(self, event, hint):
        return event | {"by": "a method"}

rules = Rules()
constant = 1
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the working directory, with transforms."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"rules_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / f"{name}_broken.py").write_text("import nothing_of_that_name\n")
    (tmp_path / f"{name}_leaves.py").write_text("raise SystemExit(4)\n")
    return name


def event_item(event: dict[str, Any] = EVENT, item_type: str = "event") -> Any:
    return make_item(item_type, json.dumps(event).encode(), content_type="application/json")


def envelope(*items: Any) -> Envelope:
    return build(EVENT_ID, items or (event_item(),))


def transformed(names: str | list[str], *items: Any) -> Envelope:
    found = Transforms([names] if isinstance(names, str) else names)(envelope(*items), RAW)
    assert isinstance(found, Envelope)
    return found


def test_a_transform_changes_the_event_and_nothing_else(module: str) -> None:
    attachment, session = make_item("attachment", b"x"), make_item("session", b"{}")
    found = transformed(f"{module}:tag", event_item(), attachment, session)
    assert found.header == envelope().header
    assert found.items[1:] == (attachment, session)
    event = json.loads(found.items[0].payload)
    assert event == EVENT | {
        "tags": [["where", "topic/3@7"]],
        "seen": [["item_type", "offset", "partition", "timestamp_ms", "topic"]],
    }
    assert json.loads(found.items[0].header) == {
        "type": "event",
        "content_type": "application/json",
        "length": len(found.items[0].payload),
    }
    assert RAW.timestamp_ms == TIMESTAMP_MS


def test_several_transforms_are_called_in_order(module: str) -> None:
    found = transformed([f"{module}:tag", f"{module}:tag", f"{module}:rules.apply"])
    event = json.loads(found.items[0].payload)
    assert len(event["seen"]) == 2
    assert event["by"] == "a method"


def test_an_envelope_without_an_item_of_its_types_is_the_same_object(module: str) -> None:
    for only in (event_item(EVENT, "transaction"), make_item("attachment", b"{not json")):
        given = envelope(only)
        assert Transforms([f"{module}:fail"])(given, RAW) is given


def test_a_transform_sees_the_types_that_it_asks_for(module: str) -> None:
    event, transaction = event_item(), event_item(EVENT, "transaction")
    found = transformed(f"{module}:note", event, transaction)
    assert found.items[0] == event
    assert json.loads(found.items[1].payload)["type_seen"] == "transaction"


def test_a_dropped_event_takes_along_what_belongs_to_it(module: str) -> None:
    drop = Transforms([f"{module}:drop"])
    attachment, session = make_item("attachment", b"x"), make_item("session", b"{}")
    assert drop(envelope(event_item(), attachment), RAW) == Skipped("transform")
    left = drop(envelope(attachment, event_item(), session), RAW)
    assert isinstance(left, Envelope)
    assert left.items == (session,)


def test_after_a_drop_no_other_transform_is_called(module: str) -> None:
    both = Transforms([f"{module}:drop", f"{module}:fail"])
    assert both(envelope(), RAW) == Skipped("transform")


def test_the_event_keeps_its_id(module: str) -> None:
    assert json.loads(transformed(f"{module}:renamed").items[0].payload)["event_id"] == EVENT_ID


@pytest.mark.parametrize(
    ("function", "detail"),
    [
        ("fail", r"KeyError: .* \(rules_\d+\.py:\d+ in deeper; rules_\d+\.py:\d+ in fail\)"),
        ("leave", r"SystemExit: 3 \(rules_\d+\.py:\d+ in leave\)"),
        ("odd", "it returned list: neither dict nor None"),
        ("unserialisable", "the event that it returned is not JSON: Type is not JSON"),
        ("deep", "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_a_transform_that_fails_rejects_the_message_with_its_trace(
    module: str, function: str, detail: str
) -> None:
    with pytest.raises(RejectedMessage, match=f"^transform_failed: {detail}") as caught:
        transformed(f"{module}:{function}")
    assert len(caught.value.detail) < 1000


def test_a_trace_tells_no_secret(module: str) -> None:
    learn_option("user-of-the-broker-secret", "sasl.password")
    event = {"why": "user-of-the-broker-secret"}
    with pytest.raises(RejectedMessage) as caught:
        transformed(f"{module}:fail", event_item(event))
    assert "pass@" not in caught.value.detail
    assert "user-of-the-broker-secret" not in caught.value.detail


@pytest.mark.parametrize(
    ("payload", "reason"),
    [(b"{", "invalid_json"), (b"\xff", "invalid_json"), (b"[1]", "invalid_event")],
)
def test_an_event_that_can_not_be_shown_to_a_transform_does_not_pass(
    module: str, payload: bytes, reason: str
) -> None:
    with pytest.raises(RejectedMessage) as caught:
        transformed(f"{module}:tag", make_item("event", payload))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing_of_that_name:run", "can't be imported: ModuleNotFoundError"),
        ("{0}_broken:run", "can't be imported: ModuleNotFoundError"),
        ("{0}_leaves:run", "can't be imported: SystemExit"),
        ("{0}:absent", "has no such function"),
        ("{0}:constant", "has no such function"),
        ("{0}:rules.absent", "has no such function"),
        (":run", "is not MODULE:FUNCTION"),
        ("{0}:", "is not MODULE:FUNCTION"),
        ("{0}:greedy", "asks for items of type 'session'; transforms take event, feedback"),
        ("{0}:single", "item_types are not a list"),
        ("sentry-scrubbin", "did you mean 'sentry-scrubbing'?"),
        ("zzz", "there is no transform 'zzz'"),
    ],
)
def test_a_transform_that_can_not_be_used_is_named_with_the_reason(
    module: str, name: str, says: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Transforms([name.format(module)])
    assert says in str(caught.value)
    assert caught.value.exit_code == 78


def test_a_transform_of_another_distribution_has_a_name(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner in ("shop", "store"):
        info = tmp_path / f"{owner}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {owner}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            f"[consumer_fleet.transforms]\n{owner}-tags = {module}:tag\nboth = {module}:tag\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert b"tags" in transformed("shop-tags").items[0].payload
    with pytest.raises(ConfigurationError, match="shop and store both provide it"):
        Transforms(["both"])
    with pytest.raises(ConfigurationError, match="one of sentry-scrubbing, both, shop-tags"):
        Transforms(["zzz"])
