"""``consumer doctor`` on a machine that is busy with other tests."""

from __future__ import annotations

import pytest

from consumer_fleet.doctor import cluster_checks, command, destination_checks, server_checks
from consumer_fleet.kafka import cluster, topic_facts
from consumer_fleet.kafka.groups import Groups

_PATIENCE_S = 60.0
_LIMITS = (
    (command, "TIMEOUT_S"),
    (server_checks, "_STEP_TIMEOUT_S"),
    (cluster_checks, "_BROKERS_TIMEOUT_S"),
    (cluster, "_METADATA_TIMEOUT_S"),
    (cluster, "FACTS_TIMEOUT_S"),
    (topic_facts, "FACTS_TIMEOUT_S"),
    (destination_checks, "_CONNECT_TIMEOUT_S"),
    (destination_checks, "_REQUEST_TIMEOUT_S"),
    (destination_checks, "_SLOW_S"),
)


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a minute for what answers, not seconds. What never answers takes as long, too."""
    for module, name in _LIMITS:
        monkeypatch.setattr(module, name, _PATIENCE_S)
    monkeypatch.setattr(Groups.__init__, "__kwdefaults__", {"timeout_s": _PATIENCE_S})
