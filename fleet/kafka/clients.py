"""Makes librdkafka's clients: their log lines go to ours, and a refused setting is the user's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from fleet.errors import ConfigurationError
from fleet.kafka.client_log import rdkafka_log
from fleet.kafka.configuration import admin_config

_Client = TypeVar("_Client", Consumer, Producer, AdminClient)


def make_client(kind: type[_Client], config: Mapping[str, Any]) -> _Client:
    """A client with exactly these settings; connects by itself, later. Raises ConfigurationError
    for a setting that librdkafka does not know or whose value it refuses.
    """
    try:
        return kind(dict(config), logger=rdkafka_log)
    except KafkaException as error:
        raise ConfigurationError(
            f"kafka_config: {error.args[0].str()}; settings are librdkafka's (CONFIGURATION.md "
            "there)"
        ) from error


def make_admin_client(base_config: Mapping[str, Any]) -> AdminClient:
    """An admin client for the cluster that every client of this program shares."""
    return make_client(AdminClient, admin_config(base_config))
