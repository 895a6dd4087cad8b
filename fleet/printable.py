"""Text from outside, made fit for a terminal: nothing in it moves its cursor."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with control characters, surrogates and changes of writing direction escaped."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def printable_lines(text: str) -> str:
    """The same, but its lines stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
