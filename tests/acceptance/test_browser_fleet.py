"""The fleet view of a real run: each trouble is on the page within seconds, with its cause."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import Producer
from playwright.sync_api import Locator, Page, expect

from consumer_fleet.capture.envelope import build, make_item, serialize
from tests.acceptance.test_browser_accessibility import violations
from tests.conftest import TopicFactory
from tests.support.browser import THEMES, WIDTHS, OpenPage
from tests.support.consumer_process import ConsumerProcess
from tests.support.kafka_broker import KafkaBroker
from tests.support.scripted_receiver import Reply, ScriptedReceiver

VISIBLE_MS: Final = 3_000.0


def envelope() -> bytes:
    event_id = uuid.uuid4().hex
    payload = b'{"event_id":"%b","message":"m","platform":"python"}' % event_id.encode()
    made = build(event_id, [make_item("event", payload)])
    return serialize(made, dsn="http://key@host/1", sent_at="2026-01-01T00:00:00Z")


def envelopes(count: int) -> list[bytes]:
    return [envelope() for _ in range(count)]


class Fleet:
    """A consumer with one worker on a topic of one partition, and its page."""

    def __init__(
        self,
        kafka: KafkaBroker,
        topic: str,
        upstream: ScriptedReceiver,
        consumer: ConsumerProcess,
        folder: Path,
    ) -> None:
        self.topic, self.upstream, self.consumer = topic, upstream, consumer
        self._kafka = kafka
        self._folder = folder
        self.bad = envelope()
        (served,) = consumer.wait_for("page_served")
        self.url = str(served["url"])
        consumer.wait_for("partitions_assigned")

    def answer_others(self, reply: Reply) -> None:
        """Answer ``bad`` with 500 however often it is tried, and all others with this."""
        name = self.bad.split(b'"event_id":"')[1][:32]
        refusal = Reply(500, body=b'{"detail":"no such shard"}')
        self.upstream.respond(lambda request: refusal if name in request.body else reply)

    def produce(self, *values: bytes) -> None:
        self._kafka.produce(self.topic, values)

    @contextmanager
    def status(self) -> Iterator[str]:
        """The address of the cluster's fleet view, by what Kafka knows."""
        arguments = ("--consumer", "envelopes", "--set", f"physical_topic={self.topic}")
        with ConsumerProcess(
            self._folder,
            *(*arguments, "--bootstrap-servers", self._kafka.bootstrap_servers),
            command=("status", "--serve", "0"),
        ) as status:
            status.wait_until(lambda: "Page  http" in status.output(), "the address")
            yield re.findall(r"Page  (http://\S+)", status.output())[0]
            status.signal(signal.SIGINT)
            assert status.wait() == 0

    @contextmanager
    def producing(self) -> Iterator[None]:
        """Some hundred messages per second arrive within the block."""
        producer = Producer(self._kafka.client_config())
        stop = threading.Event()

        def produce() -> None:
            while not stop.wait(0.05):
                for value in envelopes(20):
                    producer.produce(self.topic, value)
                producer.poll(0)

        thread = threading.Thread(target=produce)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            producer.flush(10)


@pytest.fixture
def fleet(
    kafka: KafkaBroker, topic: TopicFactory, upstream: ScriptedReceiver, tmp_path: Path
) -> Iterator[Fleet]:
    name = topic(prefix="fleet")
    with ConsumerProcess(
        tmp_path,
        *("--topic", "envelopes", "--physical-topic", name, "--workers", "1", "--serve", "0"),
        *("--bootstrap-servers", kafka.bootstrap_servers, "--upstream-dsn", upstream.dsn()),
        *("--set", "connections=4"),
    ) as consumer:
        yield Fleet(kafka, name, upstream, consumer, tmp_path)


def row(page: Page) -> Locator:
    return page.get_by_role("article", name="envelopes → upstream")


def see(page: Page, state: str, cause: str) -> None:
    """The state and its cause are on the page in time."""
    expect(causes_of(page)).to_contain_text(re.compile(f"{state}: .*{cause}"), timeout=VISIBLE_MS)


def causes_of(page: Page) -> Locator:
    return row(page).get_by_role("list", name="Causes")


@pytest.mark.timed
def test_every_trouble_of_a_run_is_visible_within_3_seconds_with_its_cause(
    fleet: Fleet, visit: OpenPage
) -> None:
    page = visit(fleet.url).page
    expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    expect(row(page).locator(".fleet-state")).to_contain_text("idle", timeout=20_000)
    fleet.produce(*envelopes(20))
    expect(figure(page, "delivered")).to_have_text("20", timeout=20_000)

    open_partitions_by_keyboard(page)
    for step in (hold_a_message_back, kill_the_worker, let_the_lag_grow, refuse):
        began = time.monotonic()
        step(fleet, page)
        seconds = time.monotonic() - began
        print(f"\n  {step.__name__}: {seconds:.1f} s")  # noqa: T201 - the figure is worth a line
    look_everywhere(page)
    with fleet.status() as url:
        shown = visit(url).page.get_by_role("article", name="envelopes", exact=True)
        expect(shown.get_by_role("list", name="Causes")).to_contain_text(
            # It may have been tried again meanwhile.
            re.compile(rf"held back: {fleet.topic}/0 at offset 20: upstream .*HTTP (500|403)"),
            timeout=20_000,
        )


def figure(page: Page, name: str) -> Locator:
    return row(page).locator(f'[data-figure="{name}"] .fleet-value')


def open_partitions_by_keyboard(page: Page) -> None:
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "false":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Partitions of fleet")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("region", name="Partitions of fleet")).to_be_focused()


def hold_a_message_back(fleet: Fleet, page: Page) -> None:
    fleet.answer_others(Reply())
    fleet.produce(fleet.bad, *envelopes(20))
    see(page, "held back", "no such shard")
    partitions = page.get_by_role("region", name="Partitions of fleet")
    where = rf"{fleet.topic} partition 0 offset 20: upstream: HTTP 500: .*no such shard"
    expect(partitions.locator(".held-back")).to_have_text(re.compile(where))


def kill_the_worker(fleet: Fleet, page: Page) -> None:
    (pid,) = fleet.consumer.worker_pids()
    os.kill(pid, signal.SIGKILL)
    see(page, "worker lost", f"worker 1: process {pid} was ended by SIGKILL")
    fleet.consumer.wait_for("worker_ready", 2)


def let_the_lag_grow(fleet: Fleet, page: Page) -> None:
    fleet.answer_others(Reply(delay_s=0.5))
    with fleet.producing():
        see(page, "lag grows", r"\d/s arrive, \d+/s settled; \d+ envelopes? on the way to upstream")
    fleet.answer_others(Reply())


def refuse(fleet: Fleet, page: Page) -> None:
    fleet.upstream.respond(Reply(403, body=b'{"detail":"project is disabled"}'))
    fleet.produce(envelope())
    see(page, "paused", "project is disabled")


def look_everywhere(page: Page) -> None:
    """In both themes and at both widths: no serious violation, nothing wider than the page."""
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert violations(page) == []
            widths = page.evaluate("[document.body.scrollWidth, document.body.clientWidth]")
            assert widths[0] <= widths[1], (theme, width)
