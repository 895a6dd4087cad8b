"""Sentry's default scrubbing as a transform, on events as SDKs and as servers write them."""

from __future__ import annotations

import copy
import json
from typing import Any, cast

import msgpack
from sentry_sdk._types import AnnotatedValue
from sentry_sdk.scrubber import EventScrubber

from consumer_fleet.capture.envelope import Envelope, build, make_item
from consumer_fleet.consumers.registry import get
from consumer_fleet.worker.sentry_scrubbing import FILTERED, scrub
from consumer_fleet.worker.transforms import Transforms
from tests.support.messages import examples, message

# As the SDK builds an event: headers are an object.
SDK_EVENT: dict[str, Any] = {
    "message": "password",
    "request": {
        "headers": {"Cookie": "s3cr3t", "Host": "h", "Authorization": "s3cr3t"},
        "cookies": {"sessionid": "s3cr3t", "theme": "dark"},
        "data": [{"password": "s3cr3t", "n": 1}],
    },
    "extra": {"token": "s3cr3t", "deep": {"api_key": "s3cr3t", "kept": [1, {"csrf": "s3cr3t"}]}},
    "user": {"id": "7", "ip_address": "203.0.113.7", "session": "s3cr3t"},
    "breadcrumbs": {"values": [{"data": {"auth": "s3cr3t"}, "message": "kept"}]},
    "exception": {
        "values": [{"stacktrace": {"frames": [{"vars": {"secret": "s3cr3t", "x": "kept"}}]}}]
    },
    "spans": [{"data": {"x_api_key": "s3cr3t", "op": "kept"}}],
}


def scrubbed(event: dict[str, Any]) -> dict[str, Any]:
    return scrub(copy.deepcopy(event), {})


def plain(value: Any) -> Any:
    if isinstance(value, AnnotatedValue):
        return value.value
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def test_an_event_of_an_sdk_is_scrubbed_as_by_the_sdk() -> None:
    by_the_sdk = copy.deepcopy(SDK_EVENT)
    EventScrubber(recursive=True).scrub_event(cast(Any, by_the_sdk))
    assert scrubbed(SDK_EVENT) == plain(by_the_sdk)
    assert "s3cr3t" not in json.dumps(scrubbed(SDK_EVENT))
    assert json.dumps(scrubbed(SDK_EVENT)).count("kept") == 4


def test_the_pairs_that_a_server_writes_are_scrubbed_too() -> None:
    event = {
        "request": {
            "headers": [["Cookie", "s3cr3t"], ["X-Forwarded-For", "203.0.113.7"], ["Host", "h"]],
            "cookies": [["sessionid", "s3cr3t"], ["theme", None]],
            "query_string": [["token", "s3cr3t"], ["page", "2"]],
            "env": {"REMOTE_ADDR": "203.0.113.7"},
        }
    }
    assert scrubbed(event)["request"] == {
        "headers": [["Cookie", FILTERED], ["X-Forwarded-For", FILTERED], ["Host", "h"]],
        "cookies": [["sessionid", FILTERED], ["theme", None]],
        "query_string": [["token", FILTERED], ["page", "2"]],
        "env": {"REMOTE_ADDR": FILTERED},
    }


def test_a_value_of_an_unexpected_type_hides_nothing_from_it() -> None:
    event = {
        "breadcrumbs": {"values": [None, 5, {"data": {"password": "s3cr3t"}}]},
        "request": [{"headers": {"cookie": "s3cr3t"}}],
        "user": None,
        "extra": {"cookie": None},
        "spans": {"0": {"data": {"token": "s3cr3t"}}},
    }
    found = scrubbed(event)
    assert "s3cr3t" not in json.dumps(found)
    assert found["extra"] == {"cookie": None}


def test_relays_example_is_delivered_without_its_users_address() -> None:
    (raw,) = examples("ingest-events").values()
    fields = msgpack.unpackb(raw)
    event = json.loads(fields["payload"])
    event["request"] = {"headers": [["Cookie", "s3cr3t"]]}
    event["user"] = {"ip_address": "203.0.113.7", "id": "7"}
    payload = json.dumps(event).encode()
    decoded = get("ingest-events").decode(message(msgpack.packb(fields | {"payload": payload})))
    assert isinstance(decoded, Envelope)
    found = Transforms(["sentry-scrubbing"])(decoded, message(b""))
    assert isinstance(found, Envelope)
    assert json.loads(found.items[0].payload) == event | {
        "request": {"headers": [["Cookie", FILTERED]]},
        "user": {"id": "7"},
    }


def test_transactions_and_feedback_are_scrubbed_and_check_ins_are_not_parsed() -> None:
    transforms = Transforms(["sentry-scrubbing"])
    for item_type in ("event", "transaction", "feedback"):
        item = make_item(item_type, b'{"extra":{"token":"s3cr3t"}}')
        found = transforms(build(None, (item,)), message(b""))
        assert isinstance(found, Envelope)
        assert b"s3cr3t" not in found.items[0].payload
    check_in = build(None, (make_item("check_in", b"{not json"),))
    assert transforms(check_in, message(b"")) is check_in
