"""The types of items, and all that is known of each: one table.

Relay decides what counts against a limit and what goes with an event
(``relay-server/src/utils/rate_limits.rs``, ``relay-server/src/envelope/item.rs``). Whatever is
held back here has to be what Relay leaves out of an envelope that it answers with a partial 429.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import filterfalse
from types import MappingProxyType
from typing import Final, NamedTuple

import orjson

from consumer_fleet.capture.envelope import Envelope, Item, normalize_event_id


class ItemFacts(NamedTuple):
    """The facts of one item type; the defaults are those of an unknown type.

    An item is limited when any one of its ``categories`` is; without any, only a limit on
    everything holds it back, unless it is ``never_limited``.
    """

    categories: tuple[str, ...] = ()
    never_limited: bool = False
    #: The item is an event; its envelope has at most one.
    is_event: bool = False
    #: It belongs to its envelope's event: it needs an event id, and Relay drops it with the event.
    needs_event: bool = False
    #: Its payload is JSON whose ``event_id`` is the envelope's.
    names_event: bool = False
    #: Its payload is an event in JSON, as SDKs send them.
    has_event: bool = False
    #: Its payload is not JSON, whatever it looks like.
    is_opaque: bool = False


_ERROR: Final = ("error",)
_SECURITY: Final = ("security",)
_METRICS: Final = ("metric_bucket", "statsd")
_PROFILE_CHUNKS: Final = ("profile_chunk", "profile_chunk_ui")
_FEEDBACK: Final = ("feedback", "user_report_v2")


def _event(categories: tuple[str, ...]) -> ItemFacts:
    return ItemFacts(categories, is_event=True, needs_event=True, names_event=True, has_event=True)


ITEMS: Final[Mapping[str, ItemFacts]] = MappingProxyType(
    {
        "event": _event(_ERROR),
        "transaction": _event(("transaction",)),
        "feedback": _event(_FEEDBACK),
        "user_report_v2": ItemFacts(has_event=True),
        "user_report": ItemFacts(_FEEDBACK, needs_event=True, names_event=True),
        "security": ItemFacts(_SECURITY, is_event=True, needs_event=True, has_event=True),
        "raw_security": ItemFacts(_SECURITY, is_event=True, needs_event=True),
        "unreal_report": ItemFacts(_ERROR, is_event=True, needs_event=True, is_opaque=True),
        "attachment": ItemFacts(
            ("attachment", "attachment_item"), needs_event=True, is_opaque=True
        ),
        "form_data": ItemFacts(needs_event=True),
        "profile": ItemFacts(("profile",), needs_event=True),
        "profile_chunk": ItemFacts(_PROFILE_CHUNKS),
        "profile_chunk_ui": ItemFacts(_PROFILE_CHUNKS),
        "replay_event": ItemFacts(("replay",), needs_event=True),
        "replay_recording": ItemFacts(("replay",), is_opaque=True),
        "replay_video": ItemFacts(("replay",), is_opaque=True),
        "session": ItemFacts(("session",)),
        "sessions": ItemFacts(("session",)),
        "statsd": ItemFacts(_METRICS, is_opaque=True),
        "metric_buckets": ItemFacts(_METRICS),
        "metric_meta": ItemFacts(_METRICS),
        "trace_metric": ItemFacts(("trace_metric", "trace_metric_byte")),
        "log": ItemFacts(("log_item", "log_byte", "log")),
        "span": ItemFacts(("span",)),
        "otel_span": ItemFacts(("span",)),
        "check_in": ItemFacts(("monitor",)),
        # Reports about what was lost are how losses become visible.
        "client_report": ItemFacts(never_limited=True),
    }
)


def types_that(fact: str) -> frozenset[str]:
    """The types for which a fact holds."""
    return frozenset(name for name, facts in ITEMS.items() if getattr(facts, fact))


KNOWN_CATEGORIES: Final = frozenset(name for facts in ITEMS.values() for name in facts.categories)
OPAQUE_TYPES: Final = types_that("is_opaque")
NEEDS_EVENT: Final = types_that("needs_event")
#: In the order in which they are asked for the event's id.
NAMES_EVENT: Final = tuple(name for name, facts in ITEMS.items() if facts.names_event)
#: Where an event's ``type`` asks for an item of its own type; all others go into "event".
OWN_ITEM_TYPES: Final = ("transaction", "feedback")
HAS_EVENT: Final = types_that("has_event")
EVENTS: Final = types_that("is_event")

_NEVER_LIMITED: Final = types_that("never_limited")
# Attachments that Relay makes an event of: they count as errors and outlive attachment limits.
_EVENT_ATTACHMENTS: Final = frozenset(
    {
        "event.minidump",
        "event.applecrashreport",
        "event.payload",
        "event.breadcrumbs",
        "playstation.prosperodump",
    }
)
_UNKNOWN: Final = ItemFacts()


def item_type_of(event_type: object) -> str:
    """The item type that an upstream expects for an event of that ``type``."""
    return str(event_type) if event_type in OWN_ITEM_TYPES else "event"


def event_id_in_payload(envelope: Envelope) -> str | None:
    """The event id that the event's own payload names.

    For envelopes whose header has none: Relay gives those a random one, which no redelivery has.
    """
    for item in envelope.items:
        if item.type in HAS_EVENT:
            return named_event_id(item)
    return None


def named_event_id(item: Item) -> str | None:
    """The ``event_id`` of a JSON payload. None if it has none, or is not JSON: that is for the
    upstream to judge.
    """
    try:
        payload = orjson.loads(item.payload)
    except orjson.JSONDecodeError:
        return None
    return normalize_event_id(payload.get("event_id")) if isinstance(payload, dict) else None


def item_categories(item: Item) -> tuple[str, ...]:
    """The categories of one item; empty if its type is unknown or never limited."""
    if _creates_event(item) and item.type == "attachment":
        return ("error",)
    return ITEMS.get(item.type, _UNKNOWN).categories


def envelope_categories(envelope: Envelope) -> frozenset[str]:
    """The categories of all items."""
    if len(envelope.items) == 1:  # by far the most frequent case
        return _SINGLE.get(envelope.items[0].type) or frozenset(item_categories(envelope.items[0]))
    return frozenset(name for item in envelope.items for name in item_categories(item))


def is_limitable(envelope: Envelope) -> bool:
    """Whether a limit on everything holds this envelope back."""
    return any(item.type not in _NEVER_LIMITED for item in envelope.items)


def limited_items(envelope: Envelope, limited: Collection[str]) -> tuple[Item, ...]:
    """The items that a server leaves out while these categories are limited."""
    goes = _with_its_own(envelope, lambda item: _is_limited(item, limited))
    return tuple(filter(goes, envelope.items))


def without_items(envelope: Envelope, types: Collection[str]) -> Envelope:
    """A copy without the items of these types.

    Items are told by their own type: the SDK's data categories no longer know statsd.
    """
    goes = _with_its_own(envelope, lambda item: item.type in types)
    return envelope._replace(items=tuple(filterfalse(goes, envelope.items)))


def _with_its_own(envelope: Envelope, goes: Callable[[Item], bool]) -> Callable[[Item], bool]:
    """Which items go: what belongs to an event goes with it."""
    if any(_creates_event(item) and goes(item) for item in envelope.items):
        return lambda item: goes(item) or item.type in NEEDS_EVENT
    return goes


_SINGLE: Final = {
    name: frozenset(facts.categories)
    for name, facts in ITEMS.items()
    if facts.categories and name != "attachment"
}


def _is_limited(item: Item, limited: Collection[str]) -> bool:
    return any(name in limited for name in item_categories(item))


def _creates_event(item: Item) -> bool:
    if item.type != "attachment":
        return item.type in EVENTS
    if b"attachment_type" not in item.header:
        return False
    return creates_event(orjson.loads(item.header).get("attachment_type"))


def creates_event(attachment_type: object) -> bool:
    """Whether Relay makes an event of an attachment of that type, if it comes without one."""
    # It may be anything that JSON has; a list is not hashable.
    return isinstance(attachment_type, str) and attachment_type in _EVENT_ATTACHMENTS
