"""One server for all processes of a parallel test run: each of its own would cost many starts."""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar


class Server(Protocol):
    """Pickled, it is the same one for another process: to use, but neither to start nor to end."""

    def start(self) -> None: ...

    def close(self) -> None: ...


S = TypeVar("S", bound=Server)


class SharedServer(Generic[S]):
    """This process's part in the server ``name`` of ``folder``.

    The first process that asks starts it, and ends it after all others have left: none outlives
    the run.
    """

    def __init__(self, folder: Path, name: str, make: Callable[[], S]) -> None:
        """Blocks until the server runs. Raises what ``make`` or its ``start`` raises."""
        self._facts = folder / f"{name}.pickle"
        self._lock = folder / f"{name}.lock"
        self._own: S | None = None
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._facts.exists():
                self._own = _started(make())
                # A later server has other users.
                users = folder / f"{name}-{os.getpid()}.users"
                self._facts.write_bytes(pickle.dumps((self._own, users)))
            self.server: S
            self.server, users = pickle.loads(self._facts.read_bytes())
            self._users = os.open(users, os.O_CREAT)
            fcntl.flock(self._users, fcntl.LOCK_SH)

    def leave(self) -> None:
        """End the use. The owner blocks until nobody else uses the server, and ends it."""
        if self._own is not None:
            with self._lock.open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._facts.unlink()
            fcntl.flock(self._users, fcntl.LOCK_EX)
            self._own.close()
        os.close(self._users)


def _started(server: S) -> S:
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return server
