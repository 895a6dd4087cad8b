"""An inspector's addresses, allowed Host names, and tokens."""

from __future__ import annotations

import pytest

from consumer_fleet.errors import ConfigurationError
from consumer_fleet.inspector.security import Access

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert Access(host).is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "inspect.example.com", ""])
def test_any_other_address_needs_a_token(host: str) -> None:
    with pytest.raises(ConfigurationError, match="set a token"):
        Access(host)
    assert not Access(host, TOKEN).is_loopback


@pytest.mark.parametrize("token", ["", "short", "0123456789abcde", "ä" * 20, "a" * 16 + "\n" + "b"])
def test_a_weak_token_is_refused_and_not_in_the_message(token: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Access("0.0.0.0", token)
    assert not token or token not in str(refused.value)


def test_a_token_is_not_shown() -> None:
    assert TOKEN not in repr(Access("0.0.0.0", TOKEN))


@pytest.mark.parametrize(
    ("access", "known", "unknown"),
    [
        (Access(), ["127.0.0.1", "localhost", "LOCALHOST", "::1"], ["x.example", "192.0.2.7", ""]),
        (Access(allowed_hosts=("Box.local",)), ["box.local"], ["box.local.attacker.example"]),
        (Access("0.0.0.0", TOKEN), ["192.0.2.7", "localhost", "2001:db8::1"], ["attacker.example"]),
        (Access("inspect.example.com", TOKEN), ["inspect.example.com"], ["example.com"]),
    ],
)  # fmt: skip
def test_only_its_own_host_names_are_allowed(
    access: Access, known: list[str], unknown: list[str]
) -> None:
    assert [name for name in known if not access.knows_host(name)] == []
    assert [name for name in unknown if access.knows_host(name)] == []


@pytest.mark.parametrize(
    ("access", "host"),
    [
        (Access(), "127.0.0.1"),
        (Access("::1"), "[::1]"),
        (Access("0.0.0.0", TOKEN), "127.0.0.1"),
        (Access("0.0.0.0", TOKEN, ("inspect.example.com",)), "inspect.example.com"),
    ],
)
def test_its_address_can_be_opened(access: Access, host: str) -> None:
    assert access.url_host == host
