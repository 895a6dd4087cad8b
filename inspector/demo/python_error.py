"""A Python error: a chain of two, source, variables, redactions, and covered lines."""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]

# demo/coverage.lcov has lines of this file, by this number.
_CHECKOUT: Final = """\
from decimal import Decimal

from shop import rates
from shop.errors import CheckoutError, RateMissing


def total(cart, currency):
    amount = sum((line.price * line.count for line in cart.lines), Decimal(0))
    try:
        rate = rates.find(cart.currency, currency)
    except KeyError as error:
        raise RateMissing(f"no rate from {cart.currency} to {currency}") from error
    if rate is None:
        return amount
    return (amount * rate).quantize(Decimal("0.01"))


def check_out(cart, customer):
    if not cart.lines:
        raise CheckoutError("the cart is empty")
    due = total(cart, customer.currency)
    return customer.charge(due)
""".splitlines()


def _frame(line: int, function: str, variables: Json) -> Json:
    return {
        "abs_path": "/srv/shop/src/shop/checkout.py",
        "filename": "shop/checkout.py",
        "module": "shop.checkout",
        "function": function,
        "lineno": line,
        "pre_context": _CHECKOUT[max(0, line - 6) : line - 1],
        "context_line": _CHECKOUT[line - 1],
        "post_context": _CHECKOUT[line : line + 5],
        "vars": variables,
        "in_app": True,
    }


def _library_frame() -> Json:
    return {
        "abs_path": "/srv/shop/.venv/lib/python3.12/site-packages/flask/app.py",
        "filename": "flask/app.py",
        "module": "flask.app",
        "function": "dispatch_request",
        "lineno": 917,
        "context_line": "    return self.ensure_sync(self.view_functions[rule.endpoint])(**args)",
        "in_app": False,
    }


def _chain() -> list[Json]:
    cart = {
        "currency": "'SEK'",
        "lines": ["<Line 3 x 'lamp'>", "<Line 1 x 'shelf'>"],
        "coupon": None,
        "is_gift": False,
    }
    customer = {"currency": "'NOK'", "card": "[Filtered]", "visits": 9007199254740993}
    frames = [
        _library_frame(),
        _frame(21, "check_out", {"cart": cart, "customer": customer}),
        _frame(12, "total", {"cart": cart, "currency": "'NOK'"}),
    ]
    return [
        {
            "type": "KeyError",
            "value": "('SEK', 'NOK')",
            "module": "builtins",
            "mechanism": {"type": "chained", "handled": True, "exception_id": 1},
            "stacktrace": {"frames": [_frame(10, "total", {"amount": "Decimal('548.50')"})]},
        },
        {
            "type": "RateMissing",
            "value": "no rate from SEK to NOK\nrates were last read 14 hours ago",
            "module": "shop.errors",
            "mechanism": {"type": "flask", "handled": False, "exception_id": 0},
            "stacktrace": {"frames": frames},
        },
    ]


def python_error() -> Json:
    return {
        "platform": "python",
        "level": "error",
        "transaction": "/checkout",
        "logger": "shop.web",
        "release": "shop@2.14.0+8f1c2d7e5a904b3c6d1e0f9a8b7c6d5e4f3a2b1c",
        "environment": "production",
        "server_name": "web-3",
        "exception": {"values": _chain()},
        "request": {
            "method": "POST",
            "url": "https://shop.example.com/checkout",
            "headers": [["Authorization", "[Filtered]"], ["User-Agent", "curl/8.5.0"]],
            "data": {"customer": "[Filtered]", "cart": 4711},
        },
        "breadcrumbs": {
            "values": [
                {"category": "query", "message": "SELECT * FROM cart WHERE id = %s"},
                {"category": "http", "data": {"url": "https://rates.example.com", "status": 503}},
            ]
        },
        "tags": {"region": "north", "payment": "card"},
        "contexts": {"runtime": {"name": "CPython", "version": "3.12.4", "type": "runtime"}},
        "sdk": {"name": "sentry.python.flask", "version": "2.40.0"},
        "_meta": _redactions(),
    }


def _redactions() -> Json:
    removed = {"": {"rem": [["@password:filter", "s", 0, 10]], "len": 16}}
    variables = {"customer": {"card": removed}}
    frames = {"1": {"vars": variables}}
    return {
        "exception": {"values": {"1": {"stacktrace": {"frames": frames}}}},
        "request": {
            "data": {"customer": removed},
            "headers": {"0": {"1": {"": {"rem": [["@ip:replace", "s"]], "len": 40}}}},
        },
    }
