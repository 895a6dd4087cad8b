"""Every option of the program: name, type, default, limits and meaning, in one place.

The documentation and ``consumer config`` are rendered from this class. resolve.py says which
source wins; ``Options`` itself reads neither the environment nor a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    model_validator,
)
from pydantic_core import PydanticCustomError

from consumer_fleet.bootstrap.cpus import usable_cpus
from consumer_fleet.bootstrap.logging_setup import LogFormat, LogLevel
from consumer_fleet.bootstrap.parsing import (
    as_dsn,
    as_items,
    as_mapping,
    as_projects,
    broker,
    distinct,
    http_url,
    item_types,
    listen_address,
    lower,
    shown,
    topic_name,
)
from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.envelope import Compression
from consumer_fleet.capture.options import ROLES, ProjectOptions


@dataclass(frozen=True, slots=True)
class Conflict:
    """Options that exclude each other. ``text`` says why, and never holds a value."""

    fields: tuple[str, ...]
    text: str


def conflicts(options: Options) -> Iterator[Conflict]:
    """Every conflict among the options, in no particular order."""
    if options.no_dlq and options.dlq_topic is not None:
        yield Conflict(("no_dlq", "dlq_topic"), "no_dlq and dlq_topic exclude each other")
    if options.statsd_host is not None and options.statsd_socket_path is not None:
        yield Conflict(
            ("statsd_host", "statsd_socket_path"),
            "statsd_host and statsd_socket_path exclude each other",
        )
    if options.connect_timeout_s > options.request_timeout_s:
        yield Conflict(
            ("connect_timeout_s", "request_timeout_s"),
            "connect_timeout_s is part of request_timeout_s and can't exceed it",
        )
    listed = options.kafka_config.get("bootstrap.servers")
    if options.bootstrap_servers and listed not in (None, ",".join(options.bootstrap_servers)):
        yield Conflict(
            ("bootstrap_servers", "kafka_config"),
            "bootstrap_servers and kafka_config's bootstrap.servers name different brokers",
        )
    if options.unmapped_projects != "default" and not options.projects:
        yield Conflict(
            ("unmapped_projects", "projects"),
            f"unmapped_projects {options.unmapped_projects} needs projects: without any, it would "
            "concern every message",
        )


Broker: TypeAlias = Annotated[str, AfterValidator(broker)]
HttpUrl: TypeAlias = Annotated[str, AfterValidator(http_url)]
DsnText: TypeAlias = Annotated[InstanceOf[Dsn], BeforeValidator(as_dsn)]
Items: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(as_items)]
ItemTypes: TypeAlias = Annotated[Items, AfterValidator(item_types)]
Projects: TypeAlias = Annotated[dict[int, InstanceOf[ProjectOptions]], BeforeValidator(as_projects)]
Pairs: TypeAlias = Annotated[dict[str, str], BeforeValidator(as_mapping)]
Name: TypeAlias = Annotated[str, Field(min_length=1)]
Address: TypeAlias = Annotated[Name, AfterValidator(listen_address)]
TopicName: TypeAlias = Annotated[Name, AfterValidator(topic_name)]
Megabytes: TypeAlias = Annotated[int, Field(ge=1)]
Seconds: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]
Delivery: TypeAlias = Annotated[Literal["required", "best-effort"], BeforeValidator(lower)]
Encoding: TypeAlias = Annotated[Compression, BeforeValidator(lower)]
Unmapped: TypeAlias = Annotated[Literal["default", "skip", "dead-letter"], BeforeValidator(lower)]
OffsetReset: TypeAlias = Annotated[Literal["earliest", "latest", "error"], BeforeValidator(lower)]
SchemaValidation: TypeAlias = Annotated[Literal["off", "warn"], BeforeValidator(lower)]
LogFormatText: TypeAlias = Annotated[LogFormat, BeforeValidator(lower)]
LogLevelText: TypeAlias = Annotated[LogLevel, BeforeValidator(lower)]
Backend: TypeAlias = Annotated[str, Field(min_length=1), BeforeValidator(lower)]


class Options(BaseModel):
    """The options of one process. Frozen; made by ``resolve_options``, pickled for workers."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=False,
        hide_input_in_errors=True,
        coerce_numbers_to_str=True,
    )

    #: The options that a SIGHUP may change while the process runs.
    LIVE: ClassVar = ("store_use_relay_dsn_sample_rate", "self_reporting")

    # Kafka
    topic: Annotated[Items, AfterValidator(distinct)] = Field(
        (), description="The consumers to run, by their logical topics, comma-separated."
    )
    physical_topic: TopicName | None = Field(
        None, description="The topic's name on the brokers, if it differs from the logical one."
    )
    bootstrap_servers: Annotated[tuple[Broker, ...], BeforeValidator(as_items)] = Field(
        (), description="Kafka brokers to start from, each host:port, comma-separated."
    )
    kafka_config: Pairs = Field(
        {},
        description="Further librdkafka properties (k=v,k=v, a JSON object, or a mapping), for "
        "example security.protocol. Merged key by key over the sources.",
    )
    group: Name | None = Field(None, description="Consumer group; by default the consumer's own.")
    auto_offset_reset: OffsetReset = Field(
        "earliest",
        description="Where to start when the group has no offset or its offset is gone: earliest, "
        "latest, or error (stop).",
    )
    stop_at_end: bool = Field(
        False, description="Stop after reading each partition up to its end offset at the start."
    )
    dlq_topic: TopicName | None = Field(
        None, description="Topic for rejected messages; by default the consumer's own."
    )
    no_dlq: bool = Field(
        False, description="Use no dead-letter topic: a rejected message stops the consumer."
    )

    # Destinations
    upstream_dsn: DsnText | None = Field(None, description="DSN of the upstream destination.")
    saas_dsn: DsnText | None = Field(None, description="DSN of the second destination.")
    projects: Projects = Field(
        {},
        description="Destinations of single projects: 42.upstream and 42.saas are DSNs for the "
        "messages of project 42; what a project does not have is as for all others. Also "
        "42.upstream_drop_items, 42.saas_drop_items, and 42.key, the public key that the DSN of "
        "a raw envelope must have. As k=v,k=v, a JSON object, or a mapping.",
    )
    unmapped_projects: Unmapped = Field(
        "default",
        description="What to do with messages of a project that is not in projects: default (send "
        "them to upstream_dsn and saas_dsn), skip, or dead-letter.",
    )
    upstream_delivery: Delivery = Field(
        "required",
        description="required: an offset is committed only once upstream has accepted its message; "
        "best-effort: upstream may miss messages.",
    )
    saas_delivery: Delivery = Field(
        "required", description="The same as upstream_delivery, for the second destination."
    )
    best_effort_budget_mb: Megabytes = Field(
        16, description="Megabytes that may wait for a best-effort destination; more are dropped."
    )
    store_use_relay_dsn_sample_rate: float = Field(
        0.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Share of messages that the second destination gets too, 0 to 1. SIGHUP "
        "changes it.",
    )
    internal_project_id: int | None = Field(
        None,
        ge=1,
        description="Project of Sentry's own errors (its SENTRY_PROJECT): the second destination "
        "gets none of its messages, since it could feed them back.",
    )
    envelope_origin: bool = Field(
        False,
        description="Put each message's topic, partition and offset into its envelope's header, "
        "for an inspector to show.",
    )
    sentry_sdk_upstream_metrics_enabled: bool = Field(
        False, description="Send statsd items upstream too; by default they are left out there."
    )
    upstream_drop_items: ItemTypes = Field(
        (),
        description="Item types that upstream does not take, for example transaction: they are "
        "left out there, with what belongs to them.",
    )
    saas_drop_items: ItemTypes = Field(
        (), description="Item types to leave out for the second destination."
    )
    upstream_compression: Encoding = Field(
        "auto", description="Body compression for upstream: auto, none, gzip, zstd or br."
    )
    saas_compression: Encoding = Field(
        "auto", description="Body compression for the second destination."
    )
    connections: int = Field(64, ge=1, description="Connections per worker and destination.")
    connect_timeout_s: Seconds = Field(5.0, description="Seconds that connecting may take.")
    request_timeout_s: Seconds = Field(30.0, description="Seconds that one request may take.")
    ca_file: Path | None = Field(
        None, description="PEM file of the certificate authorities to trust, instead of certifi's."
    )
    client_certificate: Path | None = Field(
        None,
        description="PEM file with the certificate and the key to show to destinations that ask "
        "for one.",
    )

    # Messages
    check_in_max_age_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        600.0,
        description="Seconds after which a check-in of ingest-monitors is skipped: it has no time "
        "of its own, and would raise a false alarm. 0 delivers all.",
    )
    transform: Items = Field(
        (),
        description="Functions that change or drop events before delivery, as the SDK's "
        "before_send: MODULE:FUNCTION, the name of an entry point, or sentry-scrubbing; "
        "comma-separated, called in this order.",
    )
    validate_schema: SchemaValidation = Field(
        "off",
        description="warn: compare every 100th message with its schema in sentry-kafka-schemas, "
        "count the violations and log one a minute. Never rejects.",
    )

    # Workers and limits
    workers: int | None = Field(
        None,
        ge=1,
        description="Worker processes; by default one less than usable CPUs, at least 1: the "
        "parent needs one.",
    )
    max_in_flight_mb: Megabytes = Field(
        64, description="Megabytes of messages in flight; at the limit, reading pauses."
    )
    assembly_dir: Path | None = Field(
        None,
        description="Directory for attachments that wait for their chunks; by default the system's "
        "for temporary files.",
    )
    assembly_max_mb: Megabytes = Field(
        1024,
        description="Megabytes of such attachments on disk; beyond it, the oldest are left out.",
    )
    assembly_timeout_s: Seconds = Field(
        3600.0,
        description="Seconds, by Kafka's timestamps, that chunks and their event wait for each "
        "other; after that, the event goes without the attachment.",
    )
    message_timeout_s: Seconds = Field(
        60.0, description="Seconds without progress on one message before its worker is killed."
    )
    hold_at_most_s: float = Field(
        600.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds that others may pass a message that its destination limits or "
        "refuses alone; then it is a dead letter. 0: nothing passes, everything waits.",
    )
    stall_timeout_s: Seconds = Field(
        300.0, description="Seconds without progress on a partition before health fails."
    )
    shutdown_timeout: Seconds = Field(
        25.0, description="Seconds that the whole shutdown may take: drain, commit, close."
    )
    healthcheck_file: Path | None = Field(
        None, description="File touched while every assigned partition makes progress."
    )
    serve: Address | None = Field(
        None, description="PORT or HOST:PORT of a web page that shows this process; off by default."
    )

    # Logs, metrics, own errors
    log_format: LogFormatText | None = Field(
        None, description="human or json; by default human on a terminal and json elsewhere."
    )
    log_level: LogLevelText = Field("info", description="debug, info, warning or error.")
    statsd_host: Name | None = Field(None, description="Host of the DogStatsD agent.")
    statsd_port: Port = Field(8125, description="UDP port of the DogStatsD agent.")
    statsd_socket_path: Name | None = Field(
        None, description="Unix socket of the DogStatsD agent, instead of host and port."
    )
    metrics_prefix: str = Field("consumer_fleet.", description="Prefix of every metric's name.")
    metrics_tags: Pairs = Field({}, description="Tags of every metric, k=v,k=v or a mapping.")
    self_reporting: bool = Field(
        True,
        description="Send this program's own errors to the destinations as well. SIGHUP changes "
        "it.",
    )
    traces_sample_rate: float = Field(
        0.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Share of chunks that are sent to the destinations as a transaction, 0 to 1; "
        "needs self_reporting.",
    )

    # Snuba and Sentry
    snuba_url: HttpUrl | None = Field(
        None, description="Snuba's API; if given, its health is checked at start."
    )
    snuba_timeout_s: Seconds = Field(5.0, description="Seconds that Snuba's health check may take.")
    snuba_topic_map: Pairs = Field(
        {}, description="Snuba's KAFKA_TOPIC_MAP: logical topic to physical topic."
    )
    search_backend: Backend = Field(
        "snuba",
        description="Sentry's search backend: snuba, another short name, its class path, or "
        "delegator:NAME,NAME.",
    )
    tagstore_backend: Backend = Field("snuba", description="Sentry's tagstore backend, likewise.")
    tsdb_backend: Backend = Field("snuba", description="Sentry's tsdb backend, likewise.")
    eventstream_backend: Backend = Field(
        "kafka", description="Sentry's eventstream backend: kafka, snuba, or another."
    )
    features: Items = Field((), description="Sentry features that are on, comma-separated.")

    # Start-up
    skip_service_validation: bool = Field(
        False, description="Skip the check at start that the services in use respond."
    )
    plugins_strict: bool = Field(
        False, description="Stop if a plugin fails to load, instead of continuing without it."
    )

    @model_validator(mode="after")
    def _check_conflicts(self) -> Options:
        found = list(conflicts(self))
        if found:
            text = "; ".join(conflict.text for conflict in found)
            raise PydanticCustomError("conflict", "{text}", {"text": text, "conflicts": found})
        return self

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name in type(self).model_fields:
            yield name, shown(name, getattr(self, name))

    __str__ = BaseModel.__repr__

    def with_defaults(self, **values: object) -> Options:
        """These options with other defaults. A value that a source has given wins."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return Options(**{**values, **given})

    @property
    def brokers(self) -> str:
        """The value of librdkafka's ``bootstrap.servers``; empty if no broker is given."""
        return ",".join(self.bootstrap_servers) or self.kafka_config.get("bootstrap.servers", "")

    @property
    def worker_count(self) -> int:
        """``workers``, or one less than the usable CPUs: the parent is busy, too."""
        return self.workers or max(1, usable_cpus() - 1)

    @property
    def dsns(self) -> list[Dsn]:
        """The DSNs of all destinations."""
        own = (each.dsn(role) for each in self.projects.values() for role in ROLES)
        return [dsn for dsn in (self.upstream_dsn, self.saas_dsn, *own) if dsn is not None]

    @property
    def live_capture(self) -> tuple[float, bool]:
        """What `MultiplexingTransport.change` takes."""
        return self.store_use_relay_dsn_sample_rate, self.self_reporting


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """The options, and the librdkafka settings that every Kafka client of this program shares.

    A client's own settings (``consumer_fleet.kafka.clients``) are made from ``kafka``. ``servers``
    is for messages to people.
    """

    options: Options
    kafka: dict[str, Any]

    @property
    def servers(self) -> str:
        return str(self.kafka["bootstrap.servers"])
