"""Events that mean harm: what they hold must stay text, and must not break a page or a terminal."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_MARKUP = '<img src=x onerror=alert(1)><script>alert("x")</script>'


def markup_everywhere() -> Json:
    frame = {
        "filename": _MARKUP,
        "abs_path": "javascript:alert(1)",
        "module": _MARKUP,
        "function": _MARKUP,
        "lineno": 1,
        "context_line": _MARKUP,
        "vars": {_MARKUP: _MARKUP, "__proto__": {"polluted": True}, "constructor": "x"},
        "in_app": True,
    }
    return {
        "platform": "javascript",
        "level": "error",
        "transaction": _MARKUP,
        "exception": {
            "values": [{"type": _MARKUP, "value": _MARKUP, "stacktrace": {"frames": [frame]}}]
        },
        "request": {"url": "javascript:alert(document.domain)"},
        "tags": {"link": "https://attacker.example/", _MARKUP: _MARKUP},
    }


def text_that_lies() -> Json:
    """Control characters, reversed text, a very long word, and numbers that need 64 bits."""
    return {
        "platform": "other",
        "level": "warning",
        "message": "paid \u202egnp.exe\u202c \x1b[31mred\x1b[0m \x00 " + "A" * 3000,
        "extra": {
            "largest": 18446744073709551615,
            "nested": [[[[[[[[[["deep"]]]]]]]]]],
            "empty": {"list": [], "object": {}, "text": "", "nothing": None},
        },
    }


def wrong_types() -> Json:
    """Every interface is there, and none has its documented shape."""
    return {
        "platform": 7,
        "level": ["error"],
        "transaction": {"name": "x"},
        "exception": {"values": [None, 3, {"type": None, "stacktrace": {"frames": "none"}}]},
        "breadcrumbs": "none",
        "tags": [["one"], None, "two", {"three": 3}],
        "contexts": [],
        "request": False,
        "user": 12,
    }
