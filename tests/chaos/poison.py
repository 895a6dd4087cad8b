"""Messages that are invalid, too large, or break the worker that reads them."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.destinations import failing
from tests.chaos.receiver import Answer, response
from tests.chaos.rows import row
from tests.chaos.stage import CONNECTIONS, Stage, envelope

# A message format of another distribution, whose codec does what a message says.
_MODULE = '''\
"""Raw envelopes, and messages that break the process that decodes them."""

import ctypes
import os
import signal
import sys

from consumer_fleet.consumers.envelopes import RawEnvelopes
from consumer_fleet.consumers.registry import ConsumerDefinition


def crash():
    ctypes.string_at(0)


def loop():
    while True:
        pass


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def leave():
    os._exit(0)


def stop():
    sys.exit(3)


def interrupt():
    raise KeyboardInterrupt


def recurse():
    recurse()


def exhaust():
    raise MemoryError


def fail():
    raise ValueError("a bug")


def fail_oddly():
    raise Exception(b"\\xff", "\\ud800")


def return_nothing():
    return


ACTS = {
    each.__name__.encode(): each
    for each in (crash, loop, kill, leave, stop, interrupt, recurse, exhaust, fail, fail_oddly)
}


class Breakable(RawEnvelopes):
    def decode(self, message):
        value = message.value or b""
        if value == b"nothing":
            return None
        if value in ACTS:
            ACTS[value]()
        return super().decode(message)


CONSUMER = ConsumerDefinition("breakable", "Breakable", "chaos_format:Breakable", "breakable")
'''
# Each ends three workers before it is rejected.
_DEADLY = (b"crash", b"kill", b"leave", b"loop", b"stop", b"interrupt", b"exhaust")
_BUGS = (b"recurse", b"fail", b"fail_oddly", b"nothing")
_HEADER = b'{"event_id":"00000000000000000000000000000000"}\n'
_INVALID: tuple[bytes | None, ...] = (
    None,
    b"",
    b"\0" * 100,
    b"not JSON",
    b'{"event_id":',
    b"[1]\n",
    b'{"event_id":"\xff"}\n{"type":"event"}\n{}',
    b"[" * 100_000,
    _HEADER + b"not JSON\n{}",
    _HEADER + b"[1]\n{}",
    _HEADER + b'{"length":2}\n{}',
    _HEADER + b'{"type":7}\n{}',
    _HEADER + b'{"type":"event","length":-1}\n{}',
    _HEADER + b'{"type":"event","length":"2"}\n{}',
    _HEADER + b'{"type":"event","length":9}\n{}',
    _HEADER + b'{"type":"event","length":1e400}\n{}',
    _HEADER + b'{"type":"event","length":%b}\n{}' % (b"9" * 5000),
    _HEADER + b'{"type":"event","length":1}\n{}',
)


@row
def poison(stage: Stage) -> None:
    """Messages of 29 invalid kinds become dead letters, and hold back no other message.

    Seven of them end each worker that decodes them: a crash, SIGKILL, an exit, an endless loop, …

    Bound: 16 requests on the wire of each worker that dies
    """
    count = stage.scaled(20_000, 4000)
    kinds = [*_DEADLY, *_BUGS, *_INVALID]
    # Each kind once in an own position; invalid ones several times.
    chosen = [*kinds, *(each for each in kinds if each not in _DEADLY)]
    places = dict(zip(stage.chance.sample(range(count // 4), len(chosen)), chosen, strict=True))
    _install(stage.folder)
    stage.consumer = "breakable"
    stage.environment = {"PYTHONPATH": str(stage.folder)}

    def value(name: bytes, partition: int, offset: int) -> bytes | None:
        if partition == 0 and offset in places:
            return places[offset]
        return envelope(name, partition, offset)

    stage.fill(4, count, value=value)
    stage.faults["invalid messages"] += len(places)
    stage.dead_letters_expected = range(len(places), len(places) + 1)
    stage.start("--set", "message_timeout_s=3", workers=4)
    stage.finish(240)
    stage.bound = stage.events("worker_died") * CONNECTIONS


def _install(folder: Path) -> None:
    """Install the format as its wheel would: the module, and its entry point."""
    (folder / "chaos_format.py").write_text(_MODULE)
    facts = folder / "chaos_format-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: chaos-format\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[consumer_fleet.consumers]\nbreakable = chaos_format:CONSUMER\n"
    )


@row
def rejected_envelopes(stage: Stage) -> None:
    """Envelopes that the destination answers with 400 or 413 become dead letters, others pass.

    Bound: 0
    """
    refusals = [
        Answer(response(status), accepts=False)
        for status in ("400 Bad Request", "413 Payload Too Large", "422 Unprocessable")
    ]
    stage.upstream.script = failing(stage.seed, 0.01, refusals)
    stage.fill(4, stage.scaled(20_000))
    stage.start(workers=2)
    stage.finish()
    refused = stage.upstream.failed
    stage.faults["refused envelopes"] += refused
    stage.dead_letters_expected = range(refused, refused + 1)
