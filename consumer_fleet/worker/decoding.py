"""From a codec to a worker's own: with the options of its format, schemas, and transforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from consumer_fleet.bootstrap.option_checks import saas_is_given
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.capture.envelope import Envelope, InternalEnvelope
from consumer_fleet.capture.options import ProjectOptions
from consumer_fleet.capture.own_events import mark_as_unsafe
from consumer_fleet.codec import Decode, Decoded, Incomplete, RawMessage, Skipped
from consumer_fleet.consumers.format import MessageFormat
from consumer_fleet.errors import RejectedMessage
from consumer_fleet.worker.transforms import Transforms


@runtime_checkable
class HasOptions(Protocol):
    """A codec that is not a format, and has formats in it."""

    def with_options(self, options: Options) -> Decode: ...

    def project_of(self, message: RawMessage) -> int | None: ...

    def key_of(self, message: RawMessage) -> str | None: ...


def build_decode(decode: Decode, options: Options) -> Decode:
    """The codec as the options want it; the same one where they want nothing of it.

    Called once in each worker. Raises ConfigurationError for a transform that can't be used.
    """
    if isinstance(decode, ByTopic):
        return ByTopic({topic: build_decode(of, options) for topic, of in decode.codecs.items()})
    schema = None
    message_format = getattr(decode, "__self__", decode)
    if isinstance(message_format, MessageFormat):
        decode = message_format.with_options(options).decode
        schema = message_format.schema
    elif isinstance(message_format, HasOptions):
        decode = message_format.with_options(options)
    if options.transform:
        decode = _Transformed(decode, Transforms(options.transform))
    if options.validate_schema == "warn" and schema is not None:
        # The validator takes 10 MiB, which the workers of most runs need not have.
        from consumer_fleet.worker.schema_check import SchemaCheck  # noqa: PLC0415 - see above

        decode = SchemaCheck(decode, schema)
    known = message_format if isinstance(message_format, MessageFormat | HasOptions) else None
    if options.projects:
        decode = _Routed(decode, known, options.projects, options.unmapped_projects)
    internal = options.internal_project_id if saas_is_given(options) else None
    if internal is not None and known is not None:
        decode = _KeptFromSaas(decode, known.project_of, internal)
    return decode


@dataclass(frozen=True, slots=True)
class _Routed:
    """Names each envelope's project, which the transport routes it by, if ``projects`` has it."""

    decode: Decode
    message_format: MessageFormat | HasOptions | None
    projects: Mapping[int, ProjectOptions]
    unmapped: Literal["default", "skip", "dead-letter"]

    def __call__(self, message: RawMessage) -> Decoded:
        decoded = self.decode(message)
        if isinstance(decoded, Skipped):
            return decoded
        project_id = (
            None if self.message_format is None else self.message_format.project_of(message)
        )
        if project_id is None or not self._is_mapped(project_id, message):
            return self._unmapped(decoded, project_id)
        if isinstance(decoded, Incomplete):
            envelope = decoded.envelope._replace(project_id=project_id)
            return decoded._replace(envelope=envelope)
        return decoded._replace(project_id=project_id) if isinstance(decoded, Envelope) else decoded

    def _is_mapped(self, project_id: int, message: RawMessage) -> bool:
        project = self.projects.get(project_id)
        if project is None or project.key is None or self.message_format is None:
            return project is not None
        return self.message_format.key_of(message) in (None, project.key)

    def _unmapped(self, decoded: Decoded, project_id: int | None) -> Decoded:
        if self.unmapped == "default":
            return decoded
        if self.unmapped == "skip":
            return Skipped("unmapped_project")
        if project_id is None:
            raise RejectedMessage("unmapped_project", "the message names no project")
        other = ", or has another key" if project_id in self.projects else ""
        raise RejectedMessage("unmapped_project", f"project {project_id} is not in projects{other}")


@dataclass(frozen=True, slots=True)
class ByTopic:
    """The codecs of several topics, by their names on the brokers."""

    codecs: Mapping[str, Decode]

    def __call__(self, message: RawMessage) -> Decoded:
        return self.codecs[message.topic](message)


@dataclass(frozen=True, slots=True)
class _KeptFromSaas:
    """Marks what comes of messages of the internal project: envelopes, and bugs of the codec.

    Sent to saas, either could become the next message of that project, without end.
    """

    decode: Decode
    project_of: Callable[[RawMessage], int | None]
    project_id: int

    def __call__(self, message: RawMessage) -> Decoded:
        is_internal = self.project_of(message) == self.project_id
        try:
            decoded = self.decode(message)
        except Exception as error:
            if is_internal:
                mark_as_unsafe(error)
            raise
        if not is_internal:
            return decoded
        if isinstance(decoded, Incomplete):
            return decoded._replace(envelope=InternalEnvelope(*decoded.envelope))
        return InternalEnvelope(*decoded) if isinstance(decoded, Envelope) else decoded


@dataclass(frozen=True, slots=True)
class _Transformed:
    decode: Decode
    transforms: Transforms

    def __call__(self, message: RawMessage) -> Decoded:
        decoded = self.decode(message)
        if isinstance(decoded, Envelope):
            return self.transforms(decoded, message)
        if isinstance(decoded, Incomplete):
            # No transform sees an attachment, and an event is dropped with all of its own.
            envelope = self.transforms(decoded.envelope, message)
            if isinstance(envelope, Envelope):
                return decoded._replace(envelope=envelope)
            return envelope
        return decoded
