"""``consumer run``: from options to a running stream, and the loop's duties beside the stream."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from time import monotonic

import click
import structlog
from arroyo.backends.abstract import Consumer
from arroyo.commit import ONCE_PER_SECOND
from arroyo.processing.processor import StreamProcessor
from arroyo.types import Partition, Topic
from rich.console import Console

from consumer_fleet.bootstrap.configure import App, configure
from consumer_fleet.bootstrap.options import Options, delivery_mode
from consumer_fleet.bootstrap.reserved_groups import refuse_reserved_group
from consumer_fleet.consumers import registry
from consumer_fleet.consumers.registry import ConsumerDefinition
from consumer_fleet.errors import EXIT_OK, ConfigurationError
from consumer_fleet.kafka.chunk import Chunk
from consumer_fleet.kafka.clients import client_config, consumer_config
from consumer_fleet.kafka.cluster import Cluster
from consumer_fleet.kafka.consumer import ChunkConsumer
from consumer_fleet.kafka.dead_letters import DeadLetterProducer
from consumer_fleet.kafka.retention import RetentionWatch
from consumer_fleet.metrics import gauge, incr, recorder
from consumer_fleet.metrics.arroyo_bridge import install as install_arroyo_bridge
from consumer_fleet.run.heartbeat import Heartbeat, ProgressWatch
from consumer_fleet.run.progress import Progress
from consumer_fleet.run.shutdown import Shutdown
from consumer_fleet.run.time_to_loss import TimeToLoss
from consumer_fleet.strategies.pipeline import Pipeline
from consumer_fleet.targets import default_dead_letter_topic
from consumer_fleet.worker.multiprocess_worker import WorkerSpec
from consumer_fleet.worker.pool import WorkerPool


def run_stream(
    consumer: Consumer[Chunk],
    topic: str,
    pipeline: Pipeline,
    shutdown: Shutdown,
    join_timeout_s: float,
) -> None:
    """Blocks until the shutdown's request is carried out: drained, committed, closed."""
    processor: StreamProcessor[Chunk] = StreamProcessor(
        consumer, Topic(topic), pipeline, ONCE_PER_SECOND, join_timeout=join_timeout_s
    )
    shutdown.on_request = processor.signal_shutdown
    if shutdown.requested:
        processor.signal_shutdown()
    processor.run()


_DEFAULT_MAX_POLL_INTERVAL_MS = "300000"


def refuse_long_drain(options: Options) -> None:
    """A drain that outlasts the poll interval loses its partitions before it commits."""
    interval_ms = options.kafka_config.get("max.poll.interval.ms", _DEFAULT_MAX_POLL_INTERVAL_MS)
    # librdkafka's largest has eight digits; Python itself refuses to read thousands.
    if not (interval_ms.isdecimal() and len(interval_ms) < 20):
        raise ConfigurationError(
            "kafka_config: max.poll.interval.ms is not a whole number. Give it in milliseconds."
        )
    if options.shutdown_timeout * 1000 >= int(interval_ms):
        raise ConfigurationError(
            f"shutdown_timeout is {options.shutdown_timeout:g} s, but Kafka takes the partitions "
            f"away after max.poll.interval.ms = {interval_ms}, before draining ends. Lower "
            "shutdown_timeout, or raise max.poll.interval.ms in kafka_config."
        )


def refuse_own_topic(topic: str, dead_letter_topic: str | None) -> None:
    """Dead letters would be consumed again, and rejected again."""
    if dead_letter_topic == topic:
        raise ConfigurationError(
            f"dlq_topic: {topic!r} is the topic that is consumed itself. Name another one."
        )


log = structlog.get_logger(__name__)

_DUTIES_INTERVAL_S = 1.0
_WORKER_STOP_TIMEOUT_S = 3.0


def run_consumer(options: Options) -> int:
    """Run the consumer that the options name; gives the exit code.

    1. The options are checked before any socket opens.
    2. With neither brokers nor DSN, the embedded demonstration provides both.
    3. The process boots: configure, initialize_app, validate_snuba, configure_sdk.
    4. Workers start, and boot themselves while the cluster is checked.
    5. The stream runs until a signal, an error, or the end.
    """
    definition = _definition(options)
    with ExitStack() as stack:
        if delivery_mode(options) == "embedded":
            from consumer_fleet.run.demonstration import Embedded

            embedded = stack.enter_context(
                Embedded(
                    definition.name,
                    physical_topic=options.physical_topic,
                    dead_letter_topic=options.dlq_topic,
                    trickle=not options.stop_at_end,
                )
            )
            options = options.with_defaults(
                bootstrap_servers=embedded.bootstrap_servers,
                upstream_dsn=embedded.dsn,
                envelope_origin=True,
            )
            click.echo(embedded.banner(), err=True)
        app = configure(options)
        run = ConsumerRun(definition, app)
        with run.shutdown.signals():
            return run.run()


def _definition(options: Options) -> ConsumerDefinition:
    if options.topic is None:
        known = ", ".join(registry.names())
        raise ConfigurationError(f"no consumer is named: give --topic, one of {known}")
    return registry.get(options.topic)


class ConsumerRun:
    """One consumer, from the cluster's checks to the summary."""

    def __init__(self, definition: ConsumerDefinition, app: App) -> None:
        self._definition = definition
        self._options = app.options
        self._topic = app.options.physical_topic or definition.logical_topic
        self._group = app.options.group or definition.default_group
        self._kafka = client_config(app.options.brokers, app.options.kafka_config)
        self.shutdown = Shutdown(app.options.shutdown_timeout)
        self._pool = WorkerPool(
            WorkerSpec(definition.decode, app.options),
            app.options.worker_count,
            message_timeout_s=app.options.message_timeout_s,
            on_failure=self.shutdown.fail,
        )
        path = app.options.healthcheck_file
        self._heartbeat = None if path is None else Heartbeat(path)
        self._watch = ProgressWatch(app.options.stall_timeout_s)
        self._duties_due = 0.0
        refuse_reserved_group(self._group)
        self._dead_letter_topic = self._name_dead_letter_topic()
        refuse_own_topic(self._topic, self._dead_letter_topic)
        refuse_long_drain(self._options)

    def _name_dead_letter_topic(self) -> str | None:
        if self._options.no_dlq:
            return None
        return self._options.dlq_topic or default_dead_letter_topic(self._topic)

    def run(self) -> int:
        """Blocks until the run has ended; raises the error that ended it."""
        cluster = Cluster(self._kafka)
        self._pool.start()
        try:
            if self._options.stop_at_end:
                cluster.check_reachable()
            else:
                cluster.wait_until_reachable(
                    wait=self._wait_for_kafka, given_up=lambda: self.shutdown.requested
                )
            if not self.shutdown.requested:
                self._stream(cluster)
        finally:
            self._pool.stop(_WORKER_STOP_TIMEOUT_S)
        if self.shutdown.failure is not None:
            raise self.shutdown.failure
        return EXIT_OK

    def _wait_for_kafka(self, seconds: float) -> None:
        self._pool.poll()
        if self._heartbeat is not None:
            self._heartbeat.beat([])
        self.shutdown.wait(seconds)

    def _stream(self, cluster: Cluster) -> None:
        partitions = cluster.partitions(self._topic)
        dead_letter_topic = self._dead_letter_topic
        if dead_letter_topic is not None:
            cluster.ensure_dead_letter_topic(dead_letter_topic, self._topic)
        ends = cluster.end_offsets(self._topic) if self._options.stop_at_end else None
        install_arroyo_bridge(recorder, {"consumer": self._definition.name})
        dead_letters = DeadLetterProducer(
            self._kafka, dead_letter_topic, self._group, on_failure=self.shutdown.fail
        )
        pipeline = Pipeline(
            self._pool,
            dead_letters,
            max_in_flight_bytes=self._options.max_in_flight_mb * 1024 * 1024,
        )
        time_to_loss = TimeToLoss(RetentionWatch(cluster.admin, self._topic))
        log.info(
            "consuming",
            topic=self._topic,
            partitions=partitions,
            group=self._group,
            dead_letter_topic=dead_letter_topic,
            workers=self._options.worker_count,
        )
        console = Console(stderr=True)
        live = console.is_terminal and self._options.log_format != "json"
        kept_as = "rejected" if self._options.no_dlq else "dead-lettered"
        with Progress(self._pool, console, live=live, rejected_as=kept_as) as progress:
            consumer = ChunkConsumer(
                consumer_config(self._kafka, self._group),
                offset_policy=self._options.auto_offset_reset,
                on_failure=self.shutdown.fail,
                on_poll=lambda: self._duties(
                    consumer, pipeline, dead_letters, progress, time_to_loss
                ),
                on_offsets_lost=_count_lost,
                on_partitions_lost=pipeline.abandon,
                ends=ends,
            )
            run_stream(
                consumer, self._topic, pipeline, self.shutdown, self._options.shutdown_timeout
            )
            dead_letters.close(1.0)
        self._pool.stop(_WORKER_STOP_TIMEOUT_S)
        progress.summarise()

    def _duties(
        self,
        consumer: ChunkConsumer,
        pipeline: Pipeline,
        dead_letters: DeadLetterProducer,
        progress: Progress,
        time_to_loss: TimeToLoss,
    ) -> None:
        """What the run loop does beside the stream, at each poll, with or without partitions."""
        self._pool.poll()
        if self._options.stop_at_end and consumer.at_end and pipeline.idle:
            self.shutdown.request("every partition is at its end")
        now = monotonic()
        if now < self._duties_due:
            return
        self._duties_due = now + _DUTIES_INTERVAL_S
        lag = consumer.lag()
        figures = progress.show(lag)
        if figures.trouble or dead_letters.blocked:
            self._watch.excuse()
        stalled = self._watch.stalled(lag, consumer.settled())
        if self._heartbeat is not None:
            self._heartbeat.beat(stalled)
        self._report(lag, pipeline)
        time_to_loss.report(consumer.oldest_unsettled_ms())

    def _report(self, lag: Mapping[Partition, int], pipeline: Pipeline) -> None:
        for partition, messages in lag.items():
            gauge("consumer.lag", messages, tags={"partition": str(partition.index)})
        gauge("consumer.partitions", len(lag))
        gauge("consumer.in_flight_bytes", pipeline.in_flight_bytes)


def _count_lost(partition: Partition, messages: int) -> None:
    incr("consumer.offsets_lost", amount=messages, tags={"partition": str(partition.index)})
