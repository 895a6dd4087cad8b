"""A consumer's chunks through a pipeline, until a shutdown is asked for."""

from __future__ import annotations

from arroyo.backends.abstract import Consumer
from arroyo.commit import ONCE_PER_SECOND
from arroyo.processing.processor import StreamProcessor
from arroyo.types import Topic

from consumers.shutdown import Shutdown
from fleet.kafka.chunk import Chunk
from strategies.pipeline import Pipeline


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
