"""``consumer run``: from the request to a run of the consumer that it names."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from time import monotonic

import click
import structlog
from arroyo.types import Partition

from consumer_fleet.bootstrap.configure import App, check_open_files, configure
from consumer_fleet.bootstrap.option_checks import delivery_mode, likely_circles
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.sentry_conf import sentry_host
from consumer_fleet.bootstrap.validate_snuba import refuse_reserved_group
from consumer_fleet.capture.counts import SentIds
from consumer_fleet.consumers import registry
from consumer_fleet.consumers.registry import ConsumerDefinition
from consumer_fleet.errors import EXIT_OK, ConfigurationError, DestinationUnavailable
from consumer_fleet.inspector.fleet import FleetBoard
from consumer_fleet.kafka.clients import client_config
from consumer_fleet.kafka.dead_letters import DeadLetterProducer
from consumer_fleet.kafka.topic_watch import TopicWatch, identity_of
from consumer_fleet.metrics import incr, recorder
from consumer_fleet.metrics.arroyo_bridge import install as install_arroyo_bridge
from consumer_fleet.run.fleet_watch import ConsumerWatch, FleetWatch
from consumer_fleet.run.health import GroupHealth
from consumer_fleet.run.progress import Progress
from consumer_fleet.run.reload import Reload
from consumer_fleet.run.run import Duty, Run, Steps
from consumer_fleet.run.shutdown import Shutdown
from consumer_fleet.run.sources import GroupSource
from consumer_fleet.targets import dead_letter_topic_of
from consumer_fleet.worker.multiprocess_worker import WorkerSpec

log = structlog.get_logger(__name__)

_DEFAULT_MAX_POLL_INTERVAL_MS = "300000"


def run_consumer(read: Callable[[], Options]) -> int:
    """Run the consumer that the options name; returns the exit code.

    ``read`` reads the sources of options, now and after each SIGHUP.

    1. The options are checked before any socket opens.
    2. With neither brokers nor DSN, the embedded demonstration provides both.
    3. The process boots: configure, initialize_app, validate_snuba, configure_sdk.
    4. The run is assembled, and ends with a signal, an error, or at the end of the topic.
    """
    # 1. The demonstration opens files before the boot looks at their limit.
    options = read()
    check_open_files(options.worker_count)
    definition = _definition(options)
    reload = Reload(read, options)
    with ExitStack() as stack:
        stack.enter_context(reload.signals())
        is_embedded = delivery_mode(options) == "embedded"
        board = FleetBoard() if is_embedded or options.serve is not None else None
        # 2.
        if is_embedded:
            options = _with_demonstration(stack, definition, options, board)
        # 3.
        app = configure(options)
        for line in likely_circles(options, sentry_host(os.environ)):
            log.warning("circle_likely", why=line)
        if board is not None and options.serve is not None:
            _serve(stack, board, options.serve)
        # 4.
        run = assemble(definition, app, reload, board)
        with run.shutdown.signals():
            run.run()
        run.shutdown.raise_failure()
    return EXIT_OK


def _definition(options: Options) -> ConsumerDefinition:
    if options.topic is None:
        known = ", ".join(registry.names())
        raise ConfigurationError(f"no consumer is named: give --topic, one of {known}")
    return registry.get(options.topic)


def _serve(stack: ExitStack, board: FleetBoard, address: str) -> None:
    """Show the run on a page of its own."""
    from consumer_fleet.inspector.fleet_server import FleetServer  # noqa: PLC0415 - most runs need no web server

    server = stack.enter_context(FleetServer(board, address))
    log.info("page_served", url=server.url)


def _with_demonstration(
    stack: ExitStack, definition: ConsumerDefinition, options: Options, board: FleetBoard | None
) -> Options:
    """Start the embedded broker and inspector; returns the options that name them."""
    from consumer_fleet.run.demonstration import Embedded  # noqa: PLC0415 - real runs need no web server

    embedded = stack.enter_context(
        Embedded(
            definition.name,
            physical_topic=options.physical_topic,
            dead_letter_topic=options.dlq_topic,
            trickle=not options.stop_at_end,
            board=board,
        )
    )
    click.echo(embedded.banner(), err=True)
    return options.with_defaults(
        bootstrap_servers=embedded.bootstrap_servers,
        upstream_dsn=embedded.dsn,
        envelope_origin=True,
    )


class EndPatience:
    """The duty of a run to the end of its topic: end it where all is read, and destinations have
    accepted nothing of the rest for ``patience_s``. What they refuse while they accept
    nothing else is no dead letter, so it would wait without limit.
    """

    def __init__(self, patience_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._patience_s = patience_s
        self._clock = clock
        self._since = clock()
        self._accepted = 0

    def __call__(self, run: Run) -> None:
        statuses = run.pool.statuses()
        accepted = sum(status.accepted for status in statuses)
        now = self._clock()
        if accepted != self._accepted or not run.awaits_destinations:
            self._accepted, self._since = accepted, now
        elif now - self._since > self._patience_s:
            reasons = [f"{status.name}: {status.reason}" for status in statuses if status.reason]
            run.shutdown.fail(
                DestinationUnavailable(
                    f"all messages were read, and for {self._patience_s:g} s (hold_at_most_s) none "
                    f"of the last ones was accepted. {'; '.join(reasons)}\nRun it again once they "
                    "are accepted: only these are sent then."
                )
            )


def assemble(
    definition: ConsumerDefinition, app: App, reload: Reload, board: FleetBoard | None
) -> Run:
    """Put one consumer's run together. Raises ConfigurationError for options that contradict."""
    options = app.options
    topic = options.physical_topic or definition.logical_topic
    group = options.group or definition.default_group
    dead_letter_topic = dead_letter_topic_of(topic, options)
    refuse_reserved_group(group)
    refuse_own_topic(topic, dead_letter_topic)
    refuse_long_drain(options)
    shutdown = Shutdown(options.shutdown_timeout)
    source = GroupSource(
        client_config(options.brokers, options.kafka_config),
        topic,
        group,
        options.auto_offset_reset,
        stop_at="end" if options.stop_at_end else None,
        patient=not options.stop_at_end,
        on_offsets_lost=_count_lost,
    )

    assembles = definition.format.assembles
    spec = WorkerSpec(definition.decode, options, assembles=assembles, sent=SentIds())
    duties: list[Duty] = [GroupHealth(source, options), lambda run: reload.do(run, app.transport)]
    if board is not None:
        duties.append(FleetWatch(board, [ConsumerWatch(definition.name, source)]))
    if options.stop_at_end and options.hold_at_most_s:
        duties.append(EndPatience(options.hold_at_most_s))
    install_arroyo_bridge(recorder, {"consumer": definition.name})
    return Run(
        source,
        Steps.of(spec, options),
        partial(_open_dead_letters, source, dead_letter_topic, options.worker_count, shutdown),
        shutdown,
        duties=duties,
        progress=Progress.on_stderr(
            options, rejected_as="rejected" if options.no_dlq else "dead-lettered"
        ),
    )


def _open_dead_letters(
    source: GroupSource, topic: str | None, workers: int, shutdown: Shutdown
) -> DeadLetterProducer:
    if topic is not None:
        source.cluster.ensure_dead_letter_topic(topic, source.topic)
    log.info(
        "consuming",
        topic=source.topic,
        partitions=source.partitions,
        group=source.group,
        dead_letter_topic=topic,
        workers=workers,
    )
    watch = None if topic is None else TopicWatch(source.cluster, identity_of(topic))
    return DeadLetterProducer(
        source.kafka, topic, source.group, on_failure=shutdown.fail, watch=watch
    )


def _count_lost(partition: Partition, messages: int) -> None:
    incr("consumer.offsets_lost", amount=messages, tags={"partition": str(partition.index)})


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
    """Dead letters in the consumed topic would be consumed, and rejected, again."""
    if dead_letter_topic == topic:
        raise ConfigurationError(
            f"dlq_topic: {topic!r} is the topic that is consumed. Name another one."
        )
