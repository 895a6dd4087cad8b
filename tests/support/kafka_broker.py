"""A real Kafka broker for tests: one KRaft node in a temporary folder, on loopback.

``python -m tests.support.kafka_broker`` fetches Kafka, and makes each start cost a third: it keeps
the file that formatting writes, and an archive of the loaded classes (JEP 350), beside the jars.
Where they are missing, everything works, only slower.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from confluent_kafka import KafkaException

from tests.support.java import find_java
from tests.support.kafka_jars import kafka_jars
from tests.support.kafka_topics import MAX_MESSAGE_BYTES, KafkaTopics
from tests.support.processes import ManagedProcess, free_ports
from tests.support.requirements import MissingPart, require

START_TIMEOUT_S = 90
_LOGGING = Path(__file__).with_name("kafka_log4j2.properties")

_CLASSES = "classes.jsa"
_CHECKPOINT = "bootstrap.checkpoint"

# One node can't replicate. Internal topics of one partition, low minimum timeouts, frequent
# retention checks and no initial rebalance delay keep the tests quick.
_SETTINGS: Mapping[str, object] = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # A killed broker may register again when its old session has run out.
    "broker.heartbeat.interval.ms": 300,
    "broker.session.timeout.ms": 3000,
    "auto.create.topics.enable": "false",
    # Write no record when nothing happens.
    "metadata.max.idle.interval.ms": 0,
    "message.max.bytes": MAX_MESSAGE_BYTES,
    "socket.request.max.bytes": 2 * MAX_MESSAGE_BYTES,
    "group.coordinator.rebalance.protocols": "classic,consumer",
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 500,
    "group.consumer.min.heartbeat.interval.ms": 100,
    "group.consumer.heartbeat.interval.ms": 500,
    "group.consumer.min.session.timeout.ms": 1000,
    "group.consumer.session.timeout.ms": 10_000,
    "offsets.topic.num.partitions": 1,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "log.initial.task.delay.ms": 500,
    "log.retention.check.interval.ms": 500,
    "log.segment.delete.delay.ms": 500,
}


@contextmanager
def running_broker(
    settings: Mapping[str, object] | None = None,
    *,
    folder: Path | None = None,
    host: str = "127.0.0.1",
) -> Iterator[KafkaBroker]:
    """Run a broker for the block; a machine without Java or Kafka skips the test."""
    try:
        broker = KafkaBroker(settings, folder=folder, host=host)
    except MissingPart as error:
        require("Kafka", str(error))
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


class KafkaBroker(KafkaTopics):
    """A formatted broker that is not running yet: ``start`` it, and ``close`` it at the end.

    Pickled, it is the same one for another process: to use, but neither to start nor to stop.
    """

    #: How many ports a kind of broker has beside the two of this one, in ``more_ports``.
    needs_ports = 0

    def __init__(
        self,
        settings: Mapping[str, object] | None = None,
        *,
        for_load: bool = False,
        folder: Path | None = None,
        host: str = "127.0.0.1",
        cluster_id: str | None = None,
    ) -> None:
        """``settings`` go on top of the tests' own. Raises MissingPart without Java or jars.

        ``for_load``: it runs for long, at full speed; else it starts in half the time.
        ``folder`` is empty and belongs to the broker: ``close`` deletes it. ``host`` is the address
        that clients reach it at.
        """
        self._java = find_java()
        self._jars = kafka_jars()
        self._for_load = for_load
        # Where to write the archive of classes when it stops.
        self.archive: Path | None = None
        # In one call: nothing listens on any of them before the broker does.
        self.port, controller_port, *self.more_ports = free_ports(2 + self.needs_ports)
        super().__init__(f"{host}:{self.port}")
        self.folder = folder or Path(tempfile.mkdtemp(prefix="kafka-"))
        self.log = self.folder / "broker.log"
        self._config = self.folder / "server.properties"
        self._process: ManagedProcess | None = None
        self._is_another_s = False
        self._write_config(controller_port, settings or {})
        self._format(cluster_id or str(uuid.uuid4()))

    def __getstate__(self) -> dict[str, object]:
        clients = {"_admin": None, "_producer": None}
        return {**self.__dict__, **clients, "_process": None, "_is_another_s": True}

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    def start(self) -> None:
        """Start the broker on its folder and port, and block until it answers a client."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start the broker, and do not wait for it: it may need others to be ready."""
        if self.is_running:
            return
        self._refuse_if_another_s()
        java, *rest = self._command("kafka.Kafka", str(self._config))
        # A fifth of a start is verifying classes, which are always the same.
        options = ["-XX:+UnlockDiagnosticVMOptions", "-XX:-BytecodeVerificationRemote"]
        if self.archive is not None:
            options.append(f"-XX:ArchiveClassesAtExit={self.archive}")
        self._process = ManagedProcess(
            "Kafka",
            [java, *options, *rest],
            log=self.log,
            env=os.environ,
            cwd=self.folder,
        )

    def wait_ready(self) -> None:
        """Block until the broker, which was launched, answers a client."""
        assert self._process is not None
        self._process.wait_ready(self._answers, timeout_s=START_TIMEOUT_S)

    def stop(self, *, kill: bool = False, timeout_s: float = 20) -> None:
        """Stop the broker, cleanly or by SIGKILL. ``start`` brings back the same data and port."""
        self._refuse_if_another_s()
        if self._process is None:
            return
        if kill:
            self._process.kill()
        else:
            self._process.terminate(timeout_s=timeout_s)
        self._process = None

    def close(self) -> None:
        """Kill the broker and delete its folder."""
        self.forget_clients()
        self.stop(kill=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self, lines: int = 60) -> str:
        """Return the last lines that the broker printed, over all its starts."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _refuse_if_another_s(self) -> None:
        if self._is_another_s:
            raise RuntimeError("other tests use this broker: use the fixture own_kafka")

    def run_tool(self, main_class: str, *arguments: str) -> str:
        """Run one of Kafka's command-line tools, by its main class; return its output."""
        run = subprocess.run(
            self._command(main_class, "--bootstrap-server", self.bootstrap_servers, *arguments),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return run.stdout

    def _write_config(self, controller_port: int, settings: Mapping[str, object]) -> None:
        places = {
            "listeners": f"PLAINTEXT://{self.bootstrap_servers},"
            f"CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap_servers}",
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "log.dirs": self.folder / "data",
        }
        lines = [f"{name}={value}\n" for name, value in {**_SETTINGS, **places, **settings}.items()]
        self._config.write_text("".join(lines))

    def _format(self, cluster_id: str) -> None:
        """Do as Kafka's tool, which takes as long as half a start, where its file was kept."""
        checkpoint = self._jars / _CHECKPOINT
        if checkpoint.exists():
            data = self.folder / "data"
            data.mkdir(parents=True)
            shutil.copy(checkpoint, data)
            lines = self._config.read_text().splitlines()
            (node,) = (line for line in lines if line.startswith("node.id="))
            identifier = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            (data / "meta.properties").write_text(
                f"version=1\n{node}\ncluster.id={cluster_id}\ndirectory.id={identifier}\n"
            )
            return
        arguments = ["format", "-t", cluster_id, "-c", str(self._config)]
        run = subprocess.run(
            self._command("kafka.tools.StorageTool", *arguments),
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            raise RuntimeError(f"Kafka's storage was not formatted:\n{run.stdout}{run.stderr}")

    def _command(self, main_class: str, *arguments: str) -> list[str]:
        options = [f"-Dlog4j2.configurationFile={_LOGGING}"]
        if self._for_load:
            # The collector of Kafka's own scripts: the serial one stops it for 20 to 40 ms.
            options += ["-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]
            options += ["-XX:InitiatingHeapOccupancyPercent=35"]
        else:
            # Half the time to start, and no idle collector threads beside the tests. Most of a
            # start is compiling: half of it, without what pays off after minutes only.
            options += ["-XX:+UseSerialGC", "-Xmx512m", "-XX:TieredStopAtLevel=1"]
        if (self._jars / _CLASSES).exists():
            # An archive of another Java is left unused, which the log would say.
            options += ["-Xlog:disable", f"-XX:SharedArchiveFile={self._jars / _CLASSES}"]
        return [str(self._java), *options, "-cp", f"{self._jars}/*", main_class, *arguments]

    def _answers(self) -> bool:
        try:
            return bool(self.admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False


def _prepare(jars: Path) -> None:
    """Keep what a first start leaves that the next ones can use."""
    with tempfile.TemporaryDirectory(dir=jars.parent) as scratch:
        with closing(KafkaBroker()) as broker:
            shutil.copy(broker.folder / "data" / _CHECKPOINT, scratch)
            broker.archive = Path(scratch, _CLASSES)
            broker.start()
            # Most of what tests use is loaded then: logs, transactions and groups.
            broker.create_topic("first")
            broker.transaction("first", 1).commit()
            broker.read("first")
            broker.committed("group", "first")
            broker.stop(timeout_s=START_TIMEOUT_S)
        # Renamed: a test run beside this one never sees half a file.
        if broker.archive.exists():  # not every build of Java can write one
            broker.archive.rename(jars / _CLASSES)
        Path(scratch, _CHECKPOINT).rename(jars / _CHECKPOINT)


def main() -> int:
    try:
        jars = kafka_jars()
        if not (jars / _CHECKPOINT).exists():
            _prepare(jars)
        print(f"Kafka: {jars}")  # noqa: T201 -- the command's output
    except MissingPart as error:
        # Tests that need Kafka are skipped on a developer's machine; in CI they must run.
        print(f"Kafka is missing: {error}")  # noqa: T201 -- the command's output
        return 1 if os.environ.get("CI") else 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
