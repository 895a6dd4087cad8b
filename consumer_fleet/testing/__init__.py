"""Replays of recordings in tests: what ``consumer_fleet.pytest_plugin`` gives as fixtures.

Heavy to import; the plugin does so when a test first asks for one of its fixtures.
"""

from __future__ import annotations

from consumer_fleet.capture.answers import Answer
from consumer_fleet.testing.captured import Answers, DeadLettered, Origin, SentEnvelope, SentItem
from consumer_fleet.testing.expectation import ExpectationFiles, Expectations, Replayed
from consumer_fleet.testing.kafka_cluster import ClusterRun, KafkaCluster
from consumer_fleet.testing.recording import MadeRecording, Message, Messages, open_recording
from consumer_fleet.testing.replay import Replayable, ReplayFailed, replay

__all__ = [
    "Answer",
    "Answers",
    "ClusterRun",
    "DeadLettered",
    "ExpectationFiles",
    "Expectations",
    "KafkaCluster",
    "MadeRecording",
    "Message",
    "Messages",
    "Origin",
    "ReplayFailed",
    "Replayable",
    "Replayed",
    "SentEnvelope",
    "SentItem",
    "open_recording",
    "replay",
]
