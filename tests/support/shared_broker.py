"""One broker for all processes of a parallel test run: each of its own would cost a tenth of it."""

from __future__ import annotations

import fcntl
import os
import pickle
from pathlib import Path

from tests.support.kafka_broker import KafkaBroker


class SharedBroker:
    """This process's part in the broker of ``folder``, which the first one that asks starts.

    That one ends it, after all others have left: no process outlives the run.
    """

    def __init__(self, folder: Path) -> None:
        """Blocks until the broker runs. Raises MissingPart without Java or jars."""
        self._facts = folder / "kafka.pickle"
        self._lock = folder / "kafka.lock"
        self._own: KafkaBroker | None = None
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._facts.exists():
                self._own = KafkaBroker()
                self._own.start()
                self._facts.write_bytes(pickle.dumps(self._own))
            self.broker: KafkaBroker = pickle.loads(self._facts.read_bytes())
            # Its name is that of the broker: a later one has other users.
            self._users = os.open(folder / f"kafka-{self.broker.port}.users", os.O_CREAT)
            fcntl.flock(self._users, fcntl.LOCK_SH)

    def leave(self) -> None:
        """End the use. The owner blocks until nobody else uses the broker, and ends it."""
        self.broker.forget_clients()
        if self._own is not None:
            with self._lock.open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._facts.unlink()
            fcntl.flock(self._users, fcntl.LOCK_EX)
            self._own.close()
        os.close(self._users)
