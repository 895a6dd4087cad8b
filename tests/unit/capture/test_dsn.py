"""DSNs: their parts, and the errors of invalid ones."""

from __future__ import annotations

import pytest

from consumer_fleet.capture.dsn import Dsn, client_name


@pytest.mark.parametrize(
    ("text", "url", "public"),
    [
        ("https://k@sentry.io/42", "https://sentry.io/api/42/envelope/", "https://k@sentry.io/42"),
        ("http://k@h:9000/1", "http://h:9000/api/1/envelope/", "http://k@h:9000/1"),
        ("https://k@h:443/1", "https://h/api/1/envelope/", "https://k@h/1"),
        ("https://k@h/a/b/7", "https://h/a/b/api/7/envelope/", "https://k@h/a/b/7"),
        ("https://k@h/7/", "https://h/api/7/envelope/", "https://k@h/7"),
        ("http://k@[::1]:8000/3", "http://[::1]:8000/api/3/envelope/", "http://k@[::1]:8000/3"),
        (" https://k:s@h/1\n", "https://h/api/1/envelope/", "https://k@h/1"),
    ],
)
def test_a_dsn_gives_the_envelope_url(text: str, url: str, public: str) -> None:
    dsn = Dsn.parse(text)
    assert dsn.envelope_url == url
    assert str(dsn) == public


def test_the_auth_header_names_us_and_the_keys() -> None:
    expected = f"Sentry sentry_version=7, sentry_client={client_name()}, sentry_key=pub"
    assert Dsn.parse("https://pub@h/1").auth_header == expected
    assert Dsn.parse("https://pub:sec@h/1").auth_header == f"{expected}, sentry_secret=sec"


def test_the_redacted_form_has_no_key() -> None:
    dsn = Dsn.parse("https://topsecret:more@h:8443/p/1")
    assert dsn.redacted == "https://***@h:8443/p/1"
    assert "topsecret" not in repr(dsn)
    assert "more" not in repr(dsn)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must begin with https:// or http://"),
        ("secretkey@h/1", "must begin with https:// or http://"),
        ("ftp://secretkey@h/1", "must begin with https:// or http://"),
        ("secretkey:x@h/1", "must begin with https:// or http://"),
        ("https://h/1", "no public key"),
        ("https://:secretkey@h/1", "no public key"),
        ("https://secretkey@/1", "has no host"),
        ("https://secretkey@h:0/1", "its port is 0"),
        ("https://secretkey@h:port/1", "host or port is not valid"),
        ("https://secretkey@h:99999/1", "host or port is not valid"),
        ("https://secretkey@[::1/1", "host or port is not valid"),
        ("https://secretkey@h/", "the id is missing"),
        ("https://secretkey@h", "the id is missing"),
        ("https://k@h/secretkey", "end with the id of a project, but its last part is not a"),
        ("https://k@h/it's/secretkey's", "its last part is not a number"),
        ("https://secretkey@h/\u0661", "outside ASCII"),
        ("https://secretkey@h/1?a=b", "nothing may follow"),
        ("https://secret key@h/1", "contains a space"),
        ("https://secretkey@h\r\nX: y/1", "control character"),
    ],
)
def test_a_wrong_dsn_is_explained_without_its_key(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match="expected https://PUBLIC_KEY@HOST") as caught:
        Dsn.parse(text)
    assert problem in str(caught.value)
    assert "secretkey" not in str(caught.value)
