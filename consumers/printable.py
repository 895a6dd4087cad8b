"""Bytes from outside as a terminal shows them: as text, or as a dump."""

from __future__ import annotations

from fleet.printable import printable

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
