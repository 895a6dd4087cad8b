"""The terminal output of the documentation, captured on a real Kafka.

``python -m tests.support.screens docs/screens.md`` replaces the blocks of that page that have a
command with a width, such as ``$ consumer status --watch (80 columns)``.
"""

from __future__ import annotations

import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgpack
import orjson

from tests.support.consumer_process import ConsumerProcess
from tests.support.kafka_broker import KafkaBroker
from tests.support.processes import wait_until
from tests.support.scripted_receiver import ReceivedRequest, Reply, ScriptedReceiver
from tests.support.terminal import Terminal, lines_of, terminal

_TOPIC = "ingest-events"
_TITLES = (
    ("error", "ConnectionError", "the payment service closed the connection"),
    ("warning", "RetryExceeded", "stock of item 4711 could not be read after 3 attempts"),
    ("error", "KeyError", "'shipping_address'"),
    ("fatal", "MemoryError", "out of memory while rendering invoice.pdf"),
)
_FAILING = "TemplateSyntaxError"
_BLOCK = re.compile(r"```\n\$ (consumer [^\n(]+) \((\d+) columns\)\n.*?```\n", re.DOTALL)


def _message(number: int, level: str, kind: str, value: str) -> bytes:
    event_id = f"{number:032x}"
    event = {
        "event_id": event_id,
        "level": level,
        "platform": "python",
        "exception": {"values": [{"type": kind, "value": value}]},
    }
    fields = {
        "type": "event",
        "payload": orjson.dumps(event),
        "start_time": 1_700_000_000,
        "event_id": event_id,
        "project_id": 2 + number % 3,
    }
    packed: bytes = msgpack.packb(fields)
    return packed


def _answer(request: ReceivedRequest) -> Reply:
    """The upstream is slow, and fails on one event."""
    if _FAILING.encode() in b"".join(item.payload for item in request.envelope.items):
        return Reply(500, body=b"no such column: stacktrace_json")
    return Reply(200, delay_s=0.1)


class _Producer:
    """Writes events: in waves, so that a trend is seen."""

    def __init__(self, kafka: KafkaBroker) -> None:
        self._kafka = kafka
        self._stopping = threading.Event()
        self._number = 0
        self._thread = threading.Thread(target=self._run)

    def write(self, count: int) -> None:
        values = []
        for _ in range(count):
            self._number += 1
            values.append(_message(self._number, *_TITLES[self._number % len(_TITLES)]))
        self._kafka.produce(_TOPIC, values)

    def _run(self) -> None:
        self._kafka.produce(_TOPIC, [_message(10**6, "error", _FAILING, "unexpected '}'")])
        for turn in range(10_000):
            if self._stopping.wait(0.5):
                return
            self.write(2000 if turn % 12 == 0 else 150)
            if turn % 12 == 5:
                self._kafka.produce(_TOPIC, [b"\xff not MessagePack"])

    def __enter__(self) -> _Producer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()


@contextmanager
def _scene() -> Iterator[tuple[str, ...]]:
    """A consumer at work on a Kafka of its own; yields the arguments that name the broker."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka = KafkaBroker()
        stack.callback(kafka.close)
        kafka.start()
        kafka.create_topic(_TOPIC, 2)
        kafka.create_topic("ingest-transactions", 1)
        kafka.produce("ingest-transactions", [b"x"] * 120)
        upstream = stack.enter_context(ScriptedReceiver())
        upstream.respond(_answer)
        brokers = ("--bootstrap-servers", kafka.bootstrap_servers)
        consumer = stack.enter_context(
            ConsumerProcess(
                folder,
                *("--topic", _TOPIC, "--workers", "1", "--upstream-dsn", upstream.dsn(), *brokers),
            )
        )
        stack.enter_context(_Producer(kafka))
        consumer.wait_for("message_held")
        consumer.wait_for("dead_letter")
        yield brokers


def _status(screen: Terminal) -> list[str]:
    """The last frame, which is printed again at the end."""
    wait_until(lambda: screen.drawn.count("LOSS IN") >= 30, timeout_s=120, what="30 frames")
    screen.end()
    return lines_of(screen.drawn.rpartition("\x1b[?1049l")[2])


def _tail(screen: Terminal) -> list[str]:
    wait_until(
        lambda: "dead letter" in screen.drawn and "settled" in screen.drawn,
        timeout_s=120,
        what="a dead letter",
    )
    screen.end()
    lines = [line.rstrip() for line in lines_of(screen.drawn.replace("^C", "")) if line.strip()]
    rare = next(number for number, line in enumerate(lines) if "dead letter" in line)
    return lines[max(0, rare - 6) : rare + 4]


def _help(screen: Terminal) -> list[str]:
    screen.wait()
    return lines_of(screen.drawn)


def _capture(brokers: tuple[str, ...], command: str, columns: int) -> list[str]:
    arguments = command.split()[1:]
    if "--help" in arguments:
        with terminal(*arguments, columns=columns) as screen:
            return _help(screen)
    take = _status if "status" in arguments else _tail
    more = ("--interval", "1") if take is _status else ()
    with terminal(*arguments, *brokers, *more, columns=columns) as screen:
        return take(screen)


def write(page: Path) -> None:
    """Replace the page's blocks."""
    with _scene() as brokers:

        def block(found: re.Match[str]) -> str:
            command, columns = found[1], int(found[2])
            lines = [line.rstrip() for line in _capture(brokers, command, columns)]
            text = "\n".join(lines).strip("\n")
            return f"```\n$ {command} ({columns} columns)\n{text}\n```\n"

        page.write_text(_BLOCK.sub(block, page.read_text()))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
