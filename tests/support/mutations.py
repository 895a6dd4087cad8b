"""Damaged copies of valid input, the same for the same seed."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

_ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**63,
    1.5,
    "",
    "\x00",
    "x" * 300,
    "🦀",
    [],
    {},
    [None],
    [[None, None]],
    {"values": None},
    {"values": [None, 1, "x", []]},
    {"type": "transaction", "event_id": "not one"},
)


def damaged_bytes(good: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Flip, cut, duplicate, insert or truncate bytes at random positions."""
    chance = random.Random(seed)
    for _ in range(count):
        raw = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            start = chance.randrange(len(raw) + 1)
            end = min(len(raw), start + chance.randint(1, 40))
            match chance.randrange(5):
                case 0 if start < len(raw):
                    raw[start] = chance.randrange(256)
                case 1:
                    del raw[start:end]
                case 2:
                    raw[start:start] = raw[start:end]
                case 3:
                    raw[start:start] = chance.randbytes(chance.randint(1, 9))
                case _:
                    del raw[max(start, 1) :]
        yield bytes(raw)


def damaged_values(good: object, seed: int, count: int) -> Iterator[Any]:
    """Copy a parsed message and replace some members or elements with unusual values."""
    chance = random.Random(seed)
    for _ in range(count):
        value = copy.deepcopy(good)
        for _ in range(chance.randint(1, 3)):
            _damage(value, chance)
        yield value


def _damage(root: object, chance: random.Random) -> None:
    holders = list(_holders(root))
    if not holders:
        return
    holder = chance.choice(holders)
    place = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    if chance.random() < 0.2:
        del holder[place]
    else:
        holder[place] = copy.deepcopy(chance.choice(_ODD_VALUES))


def _holders(value: object) -> Iterator[Any]:
    """Yield every dict and list in ``value`` that is not empty."""
    children = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list) and value:
        yield value
        for child in children:  # type: ignore[attr-defined]  # a dict's values or a list
            yield from _holders(child)
