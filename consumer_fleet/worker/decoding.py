"""From a codec to a worker's own: with the options of its format, schemas, and transforms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.codec import Decode, RawMessage, Skipped
from consumer_fleet.consumers.format import MessageFormat
from consumer_fleet.worker.transforms import Transforms


@runtime_checkable
class HasOptions(Protocol):
    """A codec that is not a format, and has formats in it."""

    def with_options(self, options: Options) -> Decode: ...


def build_decode(decode: Decode, options: Options) -> Decode:
    """The codec as the options want it; the same one where they want nothing of it.

    Called once in each worker. Raises ConfigurationError for a transform that can't be used.
    """
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
    return decode


@dataclass(frozen=True, slots=True)
class _Transformed:
    decode: Decode
    transforms: Transforms

    def __call__(self, message: RawMessage) -> Envelope | Skipped:
        decoded = self.decode(message)
        return decoded if isinstance(decoded, Skipped) else self.transforms(decoded, message)
