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


_HEX_WIDTH = 16


def printable_bytes(data: bytes) -> str:
    """As text where it is UTF-8, with ``\\xNN`` for what is not."""
    return printable(data.decode(errors="backslashreplace"))


def shortened(text: str, width: int) -> str:
    """At most ``width`` characters."""
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def hex_dump(data: bytes, start: int, end: int) -> list[str]:
    """Lines of 16 bytes each, 78 columns: position, hexadecimal, ASCII."""
    lines = []
    for position in range(start - start % _HEX_WIDTH, min(end, len(data)), _HEX_WIDTH):
        row = data[position : position + _HEX_WIDTH]
        halves = (row[:8].hex(" "), row[8:].hex(" "))
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        lines.append(f"{position:08x}  {halves[0]:<23}  {halves[1]:<23}  |{text}|")
    return lines
