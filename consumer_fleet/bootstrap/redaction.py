"""What of an option may be shown: in logs, errors, ``repr`` and ``consumer config``."""

from __future__ import annotations

import re

REDACTED = "[redacted]"

# librdkafka properties that hold a credential, or the way to one. The user name is shown neither:
# for several providers it is half of an API key.
_SECRET_PROPERTY = re.compile(r"password|secret|passphrase|token|key\.pem|^sasl\.|oauthbearer")
# Part of the ``sasl.`` family, but needed to diagnose a refused login and never secret.
_OPEN_PROPERTIES = frozenset({"sasl.mechanism", "sasl.mechanisms"})
_USERINFO = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)?[^\s,'\"]*@")


def is_secret_property(name: str) -> bool:
    """True when the value of this key of ``kafka_config`` must not be shown."""
    lowered = name.lower()
    return lowered not in _OPEN_PROPERTIES and _SECRET_PROPERTY.search(lowered) is not None


def without_userinfo(text: str) -> str:
    """The text, with what stands before an ``@`` hidden: a DSN's key, a URL's password."""
    if "@" not in text:
        return text
    return _USERINFO.sub(lambda match: f"{match.group(1) or ''}{REDACTED}@", text)


def shown(name: str, value: object) -> object:
    """The value of option ``name``, as plain data that is fit to be printed or written as JSON."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {
            key: REDACTED
            if name == "kafka_config" and is_secret_property(key)
            else without_userinfo(str(item))
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_userinfo(str(item)) for item in value]
    redacted = getattr(value, "redacted", None)
    if isinstance(redacted, str):
        return redacted
    return without_userinfo(str(value))


_URL_USERINFO = re.compile(r"://[^\s/@'\"]*@")


def without_credentials(text: str) -> str:
    """The text with the credentials of any URL in it hidden; other uses of ``@`` are left alone."""
    return _URL_USERINFO.sub(f"://{REDACTED}@", text) if "://" in text else text
