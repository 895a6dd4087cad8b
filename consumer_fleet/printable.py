"""Text made fit to be shown: nothing in it moves a terminal's cursor or gives away a credential."""

from __future__ import annotations

import re

REDACTED = "[redacted]"

_HEX_WIDTH = 16
_USERINFO = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)?[^\s,'\"]*@")
_URL_USERINFO = re.compile(r"://[^\s/@'\"]*@")


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


def printable_bytes(data: bytes) -> str:
    """As text, with ``\\xNN`` for bytes that are not UTF-8."""
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


def without_userinfo(text: str) -> str:
    """The text with everything before an ``@`` hidden: a DSN's key, a URL's password."""
    if "@" not in text:
        return text
    return _USERINFO.sub(lambda match: f"{match.group(1) or ''}{REDACTED}@", text)


def without_credentials(text: str) -> str:
    """The text with the credentials of any URL in it hidden; other uses of ``@`` are left alone."""
    return _URL_USERINFO.sub(f"://{REDACTED}@", text) if "://" in text else text
