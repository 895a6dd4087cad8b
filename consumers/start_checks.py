"""What ``consumer run`` refuses before it asks the cluster; ``consumer doctor`` says the same."""

from __future__ import annotations

from fleet.bootstrap.options import Options
from fleet.errors import ConfigurationError

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
