"""A plugin that breaks this program at one point, for tests of real processes."""

from __future__ import annotations

from pathlib import Path

# Each function is what ``SABOTAGE`` names. The plugin runs in the parent and in every worker.
_MODULE = '''\
import multiprocessing
import os
import signal
import time
from pathlib import Path

IS_WORKER = multiprocessing.parent_process() is not None


def register(registry):
    globals()[os.environ["SABOTAGE"]]()


def codec():
    """Two kinds of bugs in a message format."""
    from consumer_fleet.consumers import envelopes

    def parse(value):
        raise (ZeroDivisionError if len(value) % 2 else LookupError)("a bug in the codec")

    envelopes.parse = parse


def killing_codec():
    from consumer_fleet.consumers import envelopes

    original = envelopes.parse

    def parse(value):
        if value == b"kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return original(value)

    envelopes.parse = parse


def worker_loop():
    """A bug in the loop of the first worker."""
    from consumer_fleet.worker.loop import WorkerLoop

    marker = Path("sabotaged")

    def _send_status(self):
        if not marker.exists():
            marker.touch()
            raise LookupError("a bug in the worker")

    if IS_WORKER:
        WorkerLoop._send_status = _send_status


def strategy():
    from consumer_fleet.strategies.run_in_workers import RunInWorkers

    def _collect(self):
        raise RuntimeError("a bug in a strategy")

    RunInWorkers._collect = _collect


def boot():
    from consumer_fleet.bootstrap import configure

    def setup_services(services, *, validate):
        raise RuntimeError("a bug in the boot")

    if IS_WORKER:
        configure.setup_services = setup_services


def kill_at_boot():
    if IS_WORKER:
        os.kill(os.getpid(), signal.SIGKILL)


def segfault_at_boot():
    if IS_WORKER:
        os.kill(os.getpid(), signal.SIGSEGV)


def slow_boot():
    Path("booting").touch()
    time.sleep(60)


def slow_boot_of_workers():
    if IS_WORKER:
        slow_boot()
'''


def install_sabotage(folder: Path, kind: str) -> dict[str, str]:
    """Install the plugin into ``folder``; returns the environment in which it breaks ``kind``."""
    (folder / "sabotage.py").write_text(_MODULE)
    facts = folder / "sabotage-1.0.dist-info"
    facts.mkdir(exist_ok=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: sabotage\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[consumer_fleet.plugins]\nsabotage = sabotage:register\n"
    )
    return {"PYTHONPATH": str(folder), "SABOTAGE": kind}
