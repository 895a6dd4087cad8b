"""Which data categories an item counts against, and which items go when a category is limited.

Relay decides both (``relay-server/src/utils/rate_limits.rs``); what is held back here has to be
what Relay leaves out of an envelope that it answers with a partial 429.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import orjson

from consumer_fleet.capture.envelope import Envelope, Item

# An item is limited when any one of its categories is. Types that are missing here are unknown
# or never limited, and are held only by a limit on everything.
_CATEGORIES: Final[Mapping[str, tuple[str, ...]]] = {
    "event": ("error",),
    "transaction": ("transaction",),
    "security": ("security",),
    "raw_security": ("security",),
    "unreal_report": ("error",),
    "attachment": ("attachment", "attachment_item"),
    "session": ("session",),
    "sessions": ("session",),
    "statsd": ("metric_bucket", "statsd"),
    "metric_buckets": ("metric_bucket", "statsd"),
    "metric_meta": ("metric_bucket", "statsd"),
    "trace_metric": ("trace_metric", "trace_metric_byte"),
    "log": ("log_item", "log_byte", "log"),
    "span": ("span",),
    "otel_span": ("span",),
    "profile": ("profile",),
    "profile_chunk": ("profile_chunk", "profile_chunk_ui"),
    "profile_chunk_ui": ("profile_chunk", "profile_chunk_ui"),
    "replay_event": ("replay",),
    "replay_recording": ("replay",),
    "replay_video": ("replay",),
    "check_in": ("monitor",),
    "user_report": ("feedback", "user_report_v2"),
    "feedback": ("feedback", "user_report_v2"),
}

KNOWN_CATEGORIES: Final = frozenset(name for names in _CATEGORIES.values() for name in names)

# Reports about what was lost are never limited: they are how losses become visible.
_UNLIMITED_TYPES: Final = frozenset({"client_report"})

_EVENT_TYPES: Final = frozenset(
    {"event", "transaction", "security", "raw_security", "unreal_report", "feedback"}
)
# Relay removes these together with the event that they belong to.
_NEEDS_EVENT: Final = _EVENT_TYPES | {
    "attachment",
    "form_data",
    "user_report",
    "replay_event",
    "profile",
}
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


def item_categories(item: Item) -> tuple[str, ...]:
    """The categories of one item; empty if its type is unknown or never limited."""
    if _creates_event(item) and item.type == "attachment":
        return ("error",)
    return _CATEGORIES.get(item.type, ())


def envelope_categories(envelope: Envelope) -> frozenset[str]:
    """The categories of all items."""
    if len(envelope.items) == 1:  # by far the most frequent case
        return _SINGLE.get(envelope.items[0].type) or frozenset(item_categories(envelope.items[0]))
    return frozenset(name for item in envelope.items for name in item_categories(item))


def is_limitable(envelope: Envelope) -> bool:
    """Whether a limit on everything holds this envelope back."""
    return any(item.type not in _UNLIMITED_TYPES for item in envelope.items)


def limited_items(envelope: Envelope, limited: Collection[str]) -> tuple[Item, ...]:
    """The items that a server leaves out while these categories are limited."""
    event_is_limited = any(
        _creates_event(item) and _is_limited(item, limited) for item in envelope.items
    )
    return tuple(
        item
        for item in envelope.items
        if _is_limited(item, limited) or (event_is_limited and item.type in _NEEDS_EVENT)
    )


_SINGLE: Final = {
    name: frozenset(names) for name, names in _CATEGORIES.items() if name != "attachment"
}


def _is_limited(item: Item, limited: Collection[str]) -> bool:
    return any(name in limited for name in item_categories(item))


def _creates_event(item: Item) -> bool:
    if item.type != "attachment":
        return item.type in _EVENT_TYPES
    if b"attachment_type" not in item.header:
        return False
    return orjson.loads(item.header).get("attachment_type") in _EVENT_ATTACHMENTS
