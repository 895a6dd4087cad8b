"""A consumer of another distribution: one module and one entry point, installed beside ours."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from consumer_fleet.inspector.receiver import Receiver
from consumer_fleet.recording.reader import Recording
from consumer_fleet.testing import KafkaCluster
from tests.support.consumer_process import clean_environment, run_command
from tests.support.inspector_process import InspectorProcess
from tests.support.wheel import build_wheel, uv

MODULE = '''\
"""Messages of a shop's topic: JSON objects with a text that becomes an event."""

from consumer_fleet.capture.envelope import build, make_item
from consumer_fleet.codec import Skipped
from consumer_fleet.consumers.format import JsonFormat, dump_json, event_id_of
from consumer_fleet.consumers.registry import ConsumerDefinition
from consumer_fleet.errors import RejectedMessage


class Orders(JsonFormat):
    examples = ({"order": 1, "text": "an example"},)

    def to_envelope(self, document, message):
        if document.get("order") == 0:
            return Skipped("test_order")
        if not isinstance(document.get("text"), str):
            raise RejectedMessage("no_text", "the order has no text")
        event_id = event_id_of(document, message)
        event = {"event_id": event_id, "logentry": {"formatted": document["text"]}}
        return build(event_id, (make_item("event", dump_json(event, "the event")),))


CONSUMER = ConsumerDefinition("orders", "Orders of a shop", "shop_orders:Orders", "shop-orders")
'''
PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "shop-orders"
version = "1.0"
[project.entry-points."consumer_fleet.consumers"]
orders = "shop_orders:CONSUMER"
broken = "shop_nothing:CONSUMER"
[tool.hatch.build.targets.wheel]
include = ["shop_orders.py"]
"""
MESSAGES = [
    b'{"order":0,"text":"t"}',
    b'{"order":1,"text":"one"}',
    b'{"order":2}',
    b'{"order":3,"text":"three"}',
]

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the other distribution's wheel is installed into."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop_orders.py").write_text(MODULE)
    (folder / "pyproject.toml").write_text(PROJECT)
    assert len(MODULE.splitlines()) <= 40
    wheel = build_wheel(folder / "dist", folder)
    uv("pip", "install", "--no-deps", "--target", folder / "site", wheel)
    return folder / "site"


@pytest.fixture(scope="module")
def command(installed: Path) -> Command:
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        found = run_command(*arguments, environment={"PYTHONPATH": str(installed), **environment})
        assert "Traceback" not in found.stderr
        return found

    return run


def test_it_is_listed_and_completed_and_a_broken_neighbour_is_named(command: Command) -> None:
    listed = command("list", "--json")
    assert [each["name"] for each in json.loads(listed.stdout)][-1] == "orders"
    assert json.loads(listed.stdout)[-1]["topic"] == "shop-orders"
    assert "skipped 'broken': shop-orders: shop_nothing:CONSUMER can't be loaded" in listed.stderr
    completed = command(
        *(), _CONSUMER_COMPLETE="zsh_complete", COMP_WORDS="consumer run --topic o", COMP_CWORD="3"
    )
    assert "orders" in completed.stdout.split()
    refused = command("run", "--topic", "broken")
    assert refused.returncode == 78
    assert "the consumer 'broken' can't be used: shop-orders" in refused.stderr


def test_it_records_replays_and_shows_dead_letters(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "orders.recording"
    with KafkaCluster() as cluster, Receiver() as receiver:
        servers = ("--bootstrap-servers", cluster.bootstrap_servers)
        cluster.produce("shop-orders", MESSAGES)
        filter_ = ("--filter", "event.order > `0`")
        recorded = command(
            "record", "--topic", "orders", *servers, *filter_, "--scrub", "-o", str(path)
        )
        assert recorded.returncode == 0, recorded.stderr
        recording = Recording(path)
        assert recording.header.consumer == "orders"
        values = sorted(
            orjson.loads(each.value or b"")["order"] for _, each in recording.messages()
        )
        assert values == [1, 2, 3]
        rejects = tmp_path / "rejects"
        replayed = command(
            *("replay", str(path), "--through", "orders", "--rejects", str(rejects), "--json"),
            CONSUMER_UPSTREAM_DSN=str(receiver.dsn),
        )
        assert replayed.returncode == 0, replayed.stderr
        summary = json.loads(replayed.stdout)
        assert (summary["delivered"], summary["rejected"]) == (2, {"no_text": 1})
        ((_, rejected),) = Recording(rejects).messages()
        shown = command("dlq", "show", str(rejected.offset), "--file", str(rejects))
        assert shown.returncode == 0, shown.stderr
        assert "orders still rejects it: no_text" in shown.stdout
        cluster.produce("copy", [])
        changed = command(
            *("replay", str(path), "--to-topic", "copy", "--new-event-ids", "--yes", "--json"),
            *servers,
        )
        assert changed.returncode == 0, changed.stderr
        assert json.loads(changed.stdout)["messages"] == 3


def test_it_runs_and_is_replayed_by_the_pytest_plugin(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_orders.py").write_text(
        "from consumer_fleet.consumers import registry\n"
        f"MESSAGES = {MESSAGES!r}\n"
        "def test_run(kafka_cluster):\n"
        "    kafka_cluster.produce('shop-orders', MESSAGES)\n"
        "    run = kafka_cluster.run_consumer('orders')\n"
        "    assert run.exit_code == 0, run.log\n"
        "    texts = [each.event['logentry']['formatted'] for each in run.envelopes]\n"
        "    assert sorted(texts) == ['one', 'three']\n"
        "    assert [each.reason for each in run.dead_letters] == ['no_text']\n"
        "def test_replay(recording, replay):\n"
        "    messages = recording.of(MESSAGES, topic='shop-orders')\n"
        "    assert replay(messages, consumer='orders').delivered == 2\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        env=clean_environment({"PYTHONPATH": str(installed)}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_it_is_inspected(installed: Path, tmp_path: Path) -> None:
    with KafkaCluster() as cluster:
        cluster.produce("shop-orders", MESSAGES)
        inspector = InspectorProcess(
            tmp_path,
            *("--topic", "orders", "--bootstrap-servers", cluster.bootstrap_servers),
            environment={"PYTHONPATH": str(installed)},
        )
        with inspector:
            titles = {each["title"] for each in inspector.wait_for_events(len(MESSAGES))}
    assert {"one", "three"} <= titles
    assert any("no_text" in title for title in titles)


def test_its_own_examples_are_demonstrated(command: Command) -> None:
    shown = command("run", "--topic", "orders", "--stop-at-end")
    assert shown.returncode == 0, shown.stderr
    assert "example messages in 'shop-orders'" in shown.stderr
