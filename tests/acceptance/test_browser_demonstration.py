"""The page of ``consumer run``'s demonstration: consumed events and dead letters, live."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from confluent_kafka import Message, Producer
from playwright.sync_api import expect

from tests.support.browser import OpenPage, event_list, rows
from tests.support.consumer_process import ConsumerProcess

DELIVERED = 1_900  # of the 2,000 that it begins with: the others are filtered
_LISTENING = "0A"  # a socket's state in /proc/net/tcp


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsumerProcess]:
    folder = tmp_path_factory.mktemp("demonstration")
    with ConsumerProcess(folder, "--topic", "events", "--workers", "1") as consumer:
        consumer.wait_until(lambda: "Page      http://" in consumer.output(), "the banner")
        consumer.wait_until(lambda: shown(address(consumer)) >= DELIVERED, "the example messages")
        yield consumer


@pytest.fixture
def url(demonstration: ConsumerProcess) -> str:
    return address(demonstration)


def address(demonstration: ConsumerProcess) -> str:
    """That in the banner."""
    (url,) = set(re.findall(r"Page      (http://127\.0\.0\.1:\d+/)", demonstration.output()))
    return str(url)


def shown(url: str) -> int:
    """How many entries the page has."""
    with urlopen(f"{url}api/status", timeout=10) as answer:
        return int(json.load(answer)["counts"]["kept"])


def test_the_demonstrations_events_show_their_kafka_position(visit: OpenPage, url: str) -> None:
    page = visit(f"{url}#/events?topic=events").page
    rows(page).first.click()
    position = re.compile(r"^events partition [0-3] offset \d+$")
    expect(page.get_by_test_id("origin")).to_have_text(position)
    expect(page.get_by_role("list", name="Responses of destinations")).to_contain_text("200")


def test_the_demonstration_shows_every_kind_of_item(visit: OpenPage, url: str) -> None:
    page = visit(f"{url}#/events?q=shop").page
    kinds = page.get_by_label("Type")
    for kind, text in [
        ("transaction", "/checkout"), ("log", "rate for NOK is stale"),
        ("trace_metric", "orders.paid"), ("attachment", "RateMissing"),
    ]:  # fmt: skip
        kinds.select_option(kind)
        expect(rows(page).filter(has_text=text).first).to_be_visible()
    for kind, text in [("feedback", "The total stays empty"), ("check_in", "nightly-rates: ok")]:
        page.goto(f"{url}#/events?type={kind}")
        expect(rows(page).filter(has_text=text).first).to_be_visible()


def test_consumed_events_appear_without_a_reload(
    visit: OpenPage, url: str, demonstration: ConsumerProcess
) -> None:
    # Others arrive all the time, and would push it out of sight.
    page, watch = visit(f"{url}#/events?platform=elixir")
    expect(page.locator(".connection")).to_have_text("Live")
    produced = produce(demonstration, url, insert("Appears by itself"))
    row = rows(page).filter(has_text="Appears by itself")
    expect(row).to_be_visible()
    row.click()
    position = f"events partition {produced.partition()} offset {produced.offset()}"
    expect(page.get_by_test_id("origin")).to_contain_text(position)
    assert watch.paths("/api/stream") == ["/api/stream"]


def test_a_dead_letter_appears_with_its_reason_and_original_position(
    visit: OpenPage, url: str, demonstration: ConsumerProcess
) -> None:
    page = visit(url).page
    page.get_by_role("button", name="Dead letters").click()
    expect(page.get_by_text("No matching events")).to_be_visible()
    produced = produce(demonstration, url, b'[2, "insert", {"no": "data"}]')
    expect(event_list(page)).to_contain_text("dead letter")
    rows(page).first.click()
    notice = page.get_by_label("Dead letter", exact=True)
    expect(notice).to_contain_text("Dead letter: invalid_event")
    expect(notice).to_contain_text("the insert's row has no data")
    expect(notice).to_contain_text("group consumer-fleet-events")
    position = f"events partition {produced.partition()} offset {produced.offset()}"
    expect(notice).to_contain_text(position)


def insert(title: str) -> bytes:
    data = {"platform": "elixir", "level": "error", "logentry": {"formatted": title}}
    return json.dumps([2, "insert", {"event_id": "e" * 32, "data": data}]).encode()


def produce(consumer: ConsumerProcess, url: str, value: bytes) -> Message:
    """Produce to the broker in that process; returns the acknowledged message."""
    acknowledged: list[Message] = []
    brokers = broker_of(consumer.pid, url)
    producer = Producer({"bootstrap.servers": brokers, "log.connection.close": False})
    producer.produce(
        "events", value, on_delivery=lambda _error, message: acknowledged.append(message)
    )
    assert producer.flush(10) == 0
    (message,) = acknowledged
    assert message.error() is None
    return message


def broker_of(pid: int, url: str) -> str:
    """The broker's address: the process also listens on the page's."""
    own = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            own.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    sockets = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    ports = {
        int(address.rpartition(":")[2], 16)
        for _, address, _, state, *rest in sockets
        if state == _LISTENING and rest[5] in own
    }
    (port,) = ports - {urlsplit(url).port}
    return f"127.0.0.1:{port}"


def test_the_demonstrations_fleet_view_is_beside_its_events(visit: OpenPage, url: str) -> None:
    page = visit(url).page
    page.get_by_role("link", name="Fleet").click()
    row = page.get_by_role("article", name="events → upstream")
    expect(row.locator('[data-figure="delivered"] .fleet-value')).not_to_have_text("0")
    page.get_by_role("link", name="Events").click()
    expect(event_list(page)).to_be_visible()
