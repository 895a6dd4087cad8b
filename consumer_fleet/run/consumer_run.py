"""``consumer run``: from the request to a run of the consumers that it names."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from time import monotonic
from typing import Any

import click
import structlog
from arroyo.types import Partition

from consumer_fleet.bootstrap.configure import App, check_open_files, configure
from consumer_fleet.bootstrap.option_checks import check_topics, delivery_mode, likely_circles
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.sentry_conf import sentry_host
from consumer_fleet.bootstrap.validate_snuba import refuse_reserved_group
from consumer_fleet.capture.counts import SentIds
from consumer_fleet.consumers import registry
from consumer_fleet.consumers.registry import ConsumerDefinition
from consumer_fleet.errors import EXIT_OK, ConfigurationError, DestinationUnavailable
from consumer_fleet.inspector.fleet import FleetBoard
from consumer_fleet.kafka.clients import PREFETCH_KIB, client_config
from consumer_fleet.kafka.cluster import Cluster
from consumer_fleet.kafka.dead_letters import DeadLetterProducer
from consumer_fleet.kafka.topic_watch import TopicWatch, identity_of
from consumer_fleet.metrics import incr, recorder
from consumer_fleet.metrics.arroyo_bridge import install as install_arroyo_bridge
from consumer_fleet.run.fleet_watch import ConsumerWatch, FleetWatch
from consumer_fleet.run.health import GroupHealth
from consumer_fleet.run.parts import Steps
from consumer_fleet.run.progress import Progress
from consumer_fleet.run.reload import Reload
from consumer_fleet.run.run import Duty, Lane, Run
from consumer_fleet.run.shutdown import Shutdown
from consumer_fleet.run.sources import GroupSource
from consumer_fleet.targets import (
    dead_letter_topic_of,
    delivered_twice,
    group_of,
    physical_topic,
)
from consumer_fleet.worker.decoding import ByTopic
from consumer_fleet.worker.multiprocess_worker import WorkerSpec

log = structlog.get_logger(__name__)

_DEFAULT_MAX_POLL_INTERVAL_MS = "300000"
_LEAST_PREFETCH_KIB = 2048
# More than the objects of the chunks that two workers have.
_COLLECT_AT = 20_000


def run_consumer(read: Callable[[], Options], *, may_repeat: bool = False) -> int:
    """Run the consumers that the options name; returns the exit code.

    ``read`` reads the sources of options, now and after each SIGHUP. ``may_repeat`` allows topics
    that have the same data.

    1. The options are checked before any socket opens.
    2. With neither brokers nor DSN, the embedded demonstration provides both.
    3. The process boots: configure, initialize_app, validate_snuba, configure_sdk.
    4. The run is assembled, and ends with a signal, an error, or at the end of the topics.
    """
    # 1. The demonstration opens files before the boot looks at their limit.
    options = read()
    check_open_files(options.worker_count)
    definitions = _definitions(options, may_repeat=may_repeat)
    reload = Reload(read, options)
    with ExitStack() as stack:
        stack.enter_context(reload.signals())
        is_embedded = delivery_mode(options) == "embedded"
        board = FleetBoard() if is_embedded or options.serve is not None else None
        # 2.
        if is_embedded:
            options = _with_demonstration(stack, definitions, options, board)
        # 3.
        app = configure(options)
        for line in likely_circles(options, sentry_host(os.environ)):
            log.warning("circle_likely", why=line)
        if board is not None and options.serve is not None:
            _serve(stack, board, options.serve)
        # 4.
        run = assemble(definitions, app, reload, board)
        with run.shutdown.signals(), _collecting_seldom():
            run.run()
        run.shutdown.raise_failure()
    return EXIT_OK


def _definitions(options: Options, *, may_repeat: bool) -> list[ConsumerDefinition]:
    """The consumers that are named. Raises ConfigurationError where they can't run together."""
    if not options.topic:
        known = ", ".join(registry.names())
        raise ConfigurationError(f"no consumer is named: give --topic, one of {known}")
    check_topics(options)
    definitions = [registry.get(name) for name in options.topic]
    reason = delivered_twice(each.name for each in definitions)
    if reason is not None and not may_repeat:
        raise ConfigurationError(f"{reason}. Leave out one of the two sets, or confirm with --yes")
    assembling = [each.name for each in definitions if each.format.assembles]
    if len(assembling) > 1:
        raise ConfigurationError(
            f"{' and '.join(assembling)}: a process makes envelopes of several messages for one "
            "topic only. Run each in a process of its own"
        )
    topics = Counter(physical_topic(each, options) for each in definitions)
    if (most := topics.most_common(1)[0])[1] > 1:
        raise ConfigurationError(f"several of the consumers read the topic {most[0]!r}: name one")
    return definitions


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Have Python look for cycles less often inside.

    It does at 700 new objects, by default, and a single chunk has more: a tenth of the time for
    each message would go to looks at messages in flight, which are in no cycle.
    """
    before = gc.get_threshold()
    gc.set_threshold(_COLLECT_AT, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _serve(stack: ExitStack, board: FleetBoard, address: str) -> None:
    """Show the run on a page of its own."""
    from consumer_fleet.inspector.fleet_server import FleetServer  # noqa: PLC0415 - most runs need no web server

    server = stack.enter_context(FleetServer(board, address))
    log.info("page_served", url=server.url)


def _with_demonstration(
    stack: ExitStack,
    definitions: Sequence[ConsumerDefinition],
    options: Options,
    board: FleetBoard | None,
) -> Options:
    """Start the embedded broker and inspector; returns the options that name them."""
    from consumer_fleet.run.demonstration import Embedded  # noqa: PLC0415 - real runs need no web server

    if len(definitions) > 1:
        raise ConfigurationError(
            "without brokers and a DSN this is a demonstration, which has one topic, and several "
            "are named: name one, or give --bootstrap-servers and --upstream-dsn"
        )
    embedded = stack.enter_context(
        Embedded(
            definitions[0].name,
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
    definitions: Sequence[ConsumerDefinition], app: App, reload: Reload, board: FleetBoard | None
) -> Run:
    """Put a run of these consumers together.

    Raises ConfigurationError for options that contradict.
    """
    options = app.options
    refuse_long_drain(options)
    shutdown = Shutdown(options.shutdown_timeout)
    is_one = len(definitions) == 1
    kafka = client_config(options.brokers, options.kafka_config)
    if not is_one:
        # They share what one may prefetch.
        prefetch_kib = max(_LEAST_PREFETCH_KIB, PREFETCH_KIB // len(definitions))
        kafka = {"queued.max.messages.kbytes": prefetch_kib, **kafka}
    cluster = Cluster(kafka)
    lanes = [_lane(each, options, kafka, cluster, shutdown) for each in definitions]
    codecs = {physical_topic(each, options): each.decode for each in definitions}
    decode = definitions[0].decode if is_one else ByTopic(codecs)
    duties: list[Duty] = [GroupHealth(lanes, options), lambda run: reload.do(run, app.transport)]
    if board is not None:
        names = [each.name for each in definitions]
        duties.append(FleetWatch(board, list(map(ConsumerWatch, names, lanes))))
    if options.stop_at_end and options.hold_at_most_s:
        duties.append(EndPatience(options.hold_at_most_s))
    install_arroyo_bridge(recorder, {"consumer": definitions[0].name} if is_one else None)
    return Run(
        lanes,
        Steps.of(WorkerSpec(decode, options, sent=SentIds()), options),
        shutdown,
        duties=duties,
        progress=Progress.on_stderr(
            options, rejected_as="rejected" if options.no_dlq else "dead-lettered"
        ),
    )


def _lane(
    definition: ConsumerDefinition,
    options: Options,
    kafka: Mapping[str, Any],
    cluster: Cluster,
    shutdown: Shutdown,
) -> Lane:
    topic = physical_topic(definition, options)
    group = group_of(definition, options)
    dead_letter_topic = dead_letter_topic_of(topic, options)
    refuse_reserved_group(group)
    refuse_own_topic(topic, dead_letter_topic)
    source = GroupSource(
        kafka,
        topic,
        group,
        options.auto_offset_reset,
        stop_at="end" if options.stop_at_end else None,
        patient=not options.stop_at_end,
        on_offsets_lost=_count_lost,
        shared_cluster=cluster,
    )
    return Lane(
        source,
        partial(_open_dead_letters, source, dead_letter_topic, options.worker_count, shutdown),
        assembles=definition.format.assembles,
        name=definition.name if len(options.topic) > 1 else "",
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
