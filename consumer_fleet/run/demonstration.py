"""The embedded demonstration: a broker with example messages, and an inspector, in this process.

For a run with neither brokers nor a DSN; the caller checks that
(``consumer_fleet.bootstrap.option_checks.delivery_mode``).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from typing import Any, Final

import orjson
import structlog
from sentry_kafka_schemas import iter_examples

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.codec import Decode
from consumer_fleet.consumers import registry
from consumer_fleet.errors import ConfigurationError, FleetError
from consumer_fleet.inspector.demo_items import shop_visit
from consumer_fleet.inspector.entry import NewEntry
from consumer_fleet.inspector.feeder import Feed, Feeder, as_bytes, dead_letter_feed
from consumer_fleet.inspector.fleet import FleetBoard
from consumer_fleet.inspector.receiver import Receiver, View
from consumer_fleet.kafka.clients import client_config
from consumer_fleet.kafka.mock_cluster import MockCluster, MockMessage
from consumer_fleet.kafka.reader import TopicReader
from consumer_fleet.targets import default_dead_letter_topic

log = structlog.get_logger(__name__)

_TRICKLE_STOP_TIMEOUT_S = 5.0
# Between two envelopes of the shop; short pauses, because a feeder stops between batches.
_SHOP_PAUSES: Final = 10
_SHOP_PAUSE_S: Final = 0.2


class Embedded:
    """Runs from its construction to ``close``; a context manager.

    It starts with ``preloaded`` messages. With ``trickle``, some more come each second. Close it
    after the consumer, whose clients would complain that the broker is gone.
    """

    def __init__(
        self,
        consumer: str,
        *,
        physical_topic: str | None = None,
        dead_letter_topic: str | None = None,
        trickle: bool = True,
        preloaded: int = 2000,
        per_second: float = 5.0,
        board: FleetBoard | None = None,
    ) -> None:
        definition = registry.get(consumer)
        self._topic = physical_topic or definition.logical_topic
        self._preloaded = preloaded
        self._per_second = per_second if trickle else 0.0
        messages = (MockMessage(value) for value in example_messages(consumer))
        with ExitStack() as stack:
            self._cluster = stack.enter_context(MockCluster())
            self._cluster.create_topic(self._topic)
            # The mock cluster can't be asked to create a topic: naming it once creates it.
            dead_letters = dead_letter_topic or default_dead_letter_topic(self._topic)
            self._cluster.create_topic(dead_letters)
            self._cluster.produce(self._topic, islice(messages, preloaded))
            self.receiver = stack.enter_context(Receiver(view=View(fleet=board)))
            self._follow_dead_letters(dead_letters, definition.decode, stack)
            if trickle:
                self._show_other_items(stack)
                stack.callback(_Trickle(self._cluster, self._topic, messages, per_second).stop)
            self._stack = stack.pop_all()

    def _follow_dead_letters(self, topic: str, decode: Decode, stack: ExitStack) -> None:
        """Show dead letters on the receiver's page too, beside the accepted envelopes."""
        reader = stack.enter_context(
            TopicReader(client_config(self.bootstrap_servers, {}), topic, end=None)
        )
        feed = dead_letter_feed(reader, lambda _origin: decode)
        feeder = Feeder(self.receiver.store, feed)
        feeder.start()
        stack.callback(feeder.stop)

    def _show_other_items(self, stack: ExitStack) -> None:
        """Show the items that no message of one consumer has, as an SDK would send them."""
        feeder = Feeder(self.receiver.store, _shop_feed())
        feeder.start()
        stack.callback(feeder.stop)

    @property
    def bootstrap_servers(self) -> str:
        return self._cluster.bootstrap_servers

    @property
    def dsn(self) -> str:
        """For the option ``upstream_dsn``. It contains the key, so it is not for logs."""
        return str(self.receiver.dsn)

    def close(self) -> None:
        """Stop the trickle, the readers and the receiver, and then the broker."""
        self._stack.close()

    def __enter__(self) -> Embedded:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def banner(self) -> str:
        """Say that this is not real, and what makes it real."""
        more = f", {self._per_second:g} more per second" if self._per_second else ""
        others = ",\n            and all that SDKs send: traces, logs, metrics, …" if more else ""
        return f"""\
This is a demonstration: neither Kafka brokers nor a DSN are configured.
  Kafka     an embedded broker with {self._preloaded:,} example messages in {self._topic!r}{more}
  Upstream  an embedded inspector: its page shows accepted envelopes and dead letters{others}
Nothing is kept: both are in memory and end with this process (Ctrl-C).
To make it real, give both of these:
  --bootstrap-servers HOST:PORT              or CONSUMER_BOOTSTRAP_SERVERS
  --upstream-dsn https://KEY@HOST/PROJECT    or CONSUMER_UPSTREAM_DSN

  Page      {self.receiver.url}
"""


class _Trickle:
    """A thread that keeps producing until ``stop``."""

    def __init__(
        self,
        cluster: MockCluster,
        topic: str,
        messages: Iterator[MockMessage],
        per_second: float,
    ) -> None:
        self._cluster = cluster
        self._topic = topic
        self._messages = messages
        self._interval_s = 1 / per_second
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trickle", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(_TRICKLE_STOP_TIMEOUT_S)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            try:
                # A run of hours may trim: the oldest messages were consumed long ago by then.
                self._cluster.produce(self._topic, islice(self._messages, 1), may_trim=True)
            except FleetError as error:
                log.warning("demonstration_stopped_producing", error=str(error))
                return


def _shop_feed() -> Feed:
    """One visit to a shop at once, then one envelope of another every few seconds."""
    yield [_shop_entry(envelope) for envelope in shop_visit(time.time())]
    while True:
        for envelope in shop_visit(time.time()):
            for _ in range(_SHOP_PAUSES):
                time.sleep(_SHOP_PAUSE_S)
                yield []
            yield [_shop_entry(envelope)]


def _shop_entry(envelope: Envelope) -> NewEntry:
    return NewEntry(as_bytes(envelope), envelope, time.time(), project="1")


# -- its messages ----------------------------------------------------------------------------------

# Of the examples, the large ones and those that carry no event come once in so many messages.
# Otherwise a demonstration would be mostly one 60 KiB event, and mostly filtered.
_RARE_EVERY: Final = 25
_LARGE_BYTES: Final = 8 * 1024


def example_messages(consumer: str) -> Iterator[bytes]:
    """Repeat the consumer's examples, each with a new event id and the present time.

    Raises ConfigurationError for a consumer that does not exist or has no examples.
    """
    message_format = registry.get(consumer).format
    examples: Any = message_format.examples
    if isinstance(examples, str):
        # By path: the package lists directories in whatever order the file system has.
        found = sorted(iter_examples(examples), key=lambda example: str(example.path))
        examples = [example.load() for example in found]
    if not examples:
        raise ConfigurationError(
            f"the consumer {consumer!r} has no example messages for a demonstration: "
            "give --bootstrap-servers and --upstream-dsn"
        )
    common = [each for each in examples if not _is_rare(each)]
    rare = [each for each in examples if _is_rare(each)]
    return (message_format.fresh_example(each) for each in _mixed(common or rare, rare))


def _is_rare(example: Any) -> bool:
    # Sentry's event stream, and everything else that has its form.
    if isinstance(example, list):
        return example[1] != "insert" or len(orjson.dumps(example)) > _LARGE_BYTES
    return False


def _mixed(common: list[Any], rare: list[Any]) -> Iterator[Any]:
    commons, rares = itertools.cycle(common), itertools.cycle(rare)
    for number in itertools.count(1):
        yield next(rares) if rare and number % _RARE_EVERY == 0 else next(commons)
