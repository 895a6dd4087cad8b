"""Replays of recordings in tests: what ``consumers.pytest_plugin`` gives as fixtures.

Heavy to import; the plugin does so when a test first asks for one of its fixtures.
"""

from __future__ import annotations

from consumers.testing.answers import Answers
from consumers.testing.expectation import ExpectationFiles, Expectations
from consumers.testing.kafka_cluster import ClusterRun, KafkaCluster
from consumers.testing.made import MadeRecording, Message, Messages
from consumers.testing.open_recording import open_recording
from consumers.testing.replay import Replayable, ReplayFailed, replay
from consumers.testing.replayed import Replayed
from consumers.testing.seen import DeadLettered, Origin, SentEnvelope, SentItem
from fleet.capture.http_posts import Answer

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
