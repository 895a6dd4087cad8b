"""The demonstration's inspector: delivered events, dead letters, and their positions."""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from consumer_fleet.dead_letter_headers import Facts, with_facts
from consumer_fleet.run.demonstration import Embedded
from tests.support.consumer_process import ConsumerProcess
from tests.support.processes import wait_until

ENVELOPE = b'{}\n{"type":"event"}\n{"message":"refused"}\n'
FACTS = Facts("http_413", "too large", "envelopes", 2, 40, None, "consumer-fleet-envelopes")


def feeders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "inspector-feeder"]


def test_dead_letters_are_shown_beside_accepted_events() -> None:
    with Embedded("envelopes", preloaded=4, trickle=False, dead_letter_topic="letters") as embedded:
        producer = Producer({"bootstrap.servers": embedded.bootstrap_servers})
        producer.produce("letters", ENVELOPE, headers=with_facts((), FACTS), partition=1)
        assert producer.flush(10) == 0
        store = embedded.receiver.store
        wait_until(lambda: store.counts().kept == 1, timeout_s=20, what="the dead letter")
        (entry,) = store.latest(2)
        assert entry.title == "refused"
        assert entry.dead_letter is not None
        assert (entry.dead_letter.reason, entry.dead_letter.offset) == ("http_413", 40)
        assert entry.origin is not None
        assert (entry.origin.topic, entry.origin.partition) == ("letters", 1)
        assert len(feeders()) == 1
    assert feeders() == []


def test_a_demonstration_shows_each_messages_position(tmp_path: Path) -> None:
    with ConsumerProcess(tmp_path, "--topic", "ingest-events", "--workers", "1") as consumer:
        consumer.wait_until(lambda: "http://" in consumer.output(), "the banner")
        (url,) = set(re.findall(r"http://127\.0\.0\.1:\d+/", consumer.output()))

        def events() -> list[dict[str, Any]]:
            with urllib.request.urlopen(
                f"{url}api/events?topic=ingest-events", timeout=10
            ) as answer:
                found: list[dict[str, Any]] = json.load(answer)["events"]
                return found

        consumer.wait_until(lambda: len(events()) >= 100, "a page of events")
        for event in events():
            assert event["origin"]["topic"] == "ingest-events"
            assert event["answers"][0]["status"] == 200
        positions = [
            (event["origin"]["partition"], event["origin"]["offset"]) for event in events()
        ]
        assert len(set(positions)) == len(positions)
