"""A command on a terminal."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.consumer_process import CONSUMER, clean_environment
from tests.support.processes import wait_until

_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def heed_interrupts() -> None:
    """In the child: a test run in the background ignores INT, and a child inherits that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Terminal:
    """``consumer …`` on a terminal, and everything that it has drawn."""

    def __init__(self, *arguments: str, columns: int = 80, rows: int = 24) -> None:
        self._terminal, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [CONSUMER, *arguments],
            env=clean_environment({"TERM": "xterm-256color"}),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=heed_interrupts,  # noqa: PLW1509 - one system call
        )
        os.close(theirs)
        self.drawn = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        # A read may end within a character.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            try:
                data = os.read(self._terminal, 65536)
            except OSError:
                return  # the command has ended
            self.drawn += decoder.decode(data)

    def wait_for(self, text: str, *, after: int = 0, timeout_s: float = 30) -> int:
        """Block until the text was drawn behind that place; gives the place."""
        wait_until(
            lambda: text in self.drawn[after:], timeout_s=timeout_s, what=f"{text!r} on the screen"
        )
        return self.drawn.index(text, after)

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(10)
        self._reader.join(5)
        return code

    def wait(self) -> int:
        """Block until the command has ended by itself and all that it drew is read."""
        code = self.process.wait(30)
        self._reader.join(5)
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self._reader.join(5)
        os.close(self._terminal)


@contextmanager
def terminal(*arguments: str, columns: int = 80, rows: int = 24) -> Iterator[Terminal]:
    found = Terminal(*arguments, columns=columns, rows=rows)
    try:
        yield found
    finally:
        found.close()


def lines_of(drawn: str) -> list[str]:
    """What was drawn, without colours and movements."""
    return _SEQUENCE.sub("", drawn).replace("\r", "").split("\n")
