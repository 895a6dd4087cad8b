"""Access to an inspector, and the security headers of its responses."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import pytest

from consumer_fleet.inspector.receiver import Receiver
from consumer_fleet.inspector.security import Access
from tests.support.inspecting import get, request

TOKEN = "a-long-enough-token-of-ours"
PATHS = ["/", "/plain.css", "/assets/x.js", "/api/status", "/api/events", "/api/events/1",
         "/api/events/1/raw", "/api/events/1/items/0", "/api/stream", "/api/lookup/x",
         "/api/coverage?file=x", "/nothing"]  # fmt: skip
ENVELOPE = b'{}\n{"type":"event"}\n{}\n'
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; font-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@pytest.fixture(scope="module")
def open_one() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def guarded() -> Iterator[Receiver]:
    with Receiver(access=Access("0.0.0.0", TOKEN, ("inspect.example.com",))) as receiver:
        yield receiver


def post(receiver: Receiver, headers: dict[str, str]) -> int:
    key = {"X-Sentry-Auth": receiver.dsn.auth_header}
    return request(receiver, "POST", "/api/1/envelope/", ENVELOPE, {**key, **headers}).status


@pytest.mark.parametrize("path", [path for path in PATHS if "stream" not in path])
def test_every_response_has_the_security_headers(open_one: Receiver, path: str) -> None:
    answer = get(open_one, path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["Server"] is None


@pytest.mark.parametrize("path", PATHS)
def test_a_foreign_host_name_is_refused(open_one: Receiver, guarded: Receiver, path: str) -> None:
    for host in ("attacker.example", "127.0.0.1.attacker.example", "localhost.attacker.example:80"):
        assert get(open_one, path, {"Host": host}).status == 400
        bearer = {"Host": host, "Authorization": f"Bearer {TOKEN}"}
        assert get(guarded, path, bearer).status == 400
    assert post(open_one, {"Host": "attacker.example"}) == 400


def test_its_own_host_names_are_allowed(open_one: Receiver, guarded: Receiver) -> None:
    port = open_one.dsn.port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", "LOCALHOST", f"[::1]:{port}"):
        assert get(open_one, "/api/status", {"Host": host}).status == 200
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for host in ("inspect.example.com", "192.0.2.7:8790", "localhost"):
        assert get(guarded, "/api/status", {"Host": host, **bearer}).status == 200


@pytest.mark.parametrize(
    "origin",
    ["https://attacker.example", "null", "", "http://127.0.0.1", "http://127.0.0.1:1",
     "http://{host}.attacker.example", "http://attacker.example/{host}"],
)  # fmt: skip
def test_a_cross_origin_request_is_refused(open_one: Receiver, origin: str) -> None:
    headers = {"Origin": origin.format(host=f"127.0.0.1:{open_one.dsn.port}")}
    assert get(open_one, "/api/status", headers).status == 403
    assert get(open_one, "/", headers).status == 403
    assert post(open_one, headers) == 403
    assert request(open_one, "OPTIONS", "/api/events", None, headers).status == 403


def test_a_same_origin_request_is_allowed(open_one: Receiver) -> None:
    own = {"Origin": f"http://127.0.0.1:{open_one.dsn.port}"}
    assert get(open_one, "/api/status", own).status == 200
    answer = get(open_one, "/api/status", own)
    assert answer.headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_nothing_is_shown(guarded: Receiver, path: str) -> None:
    for headers in (
        {},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer \xe4"},
        {"Cookie": f"inspector_{guarded.dsn.port}={TOKEN}"},
        {"Cookie": f"inspector_{guarded.dsn.port}=; x"},
    ):
        answer = get(guarded, path, headers)
        assert answer.status == 401
        assert list(answer.json) == ["detail"]
        assert TOKEN not in answer.body.decode()
    assert answer.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


def test_the_token_is_accepted_as_a_header(guarded: Receiver) -> None:
    for scheme in ("Bearer", "bearer"):
        assert get(guarded, "/api/status", {"Authorization": f"{scheme} {TOKEN}"}).status == 200


def test_a_page_opened_once_with_the_token_gets_a_cookie(guarded: Receiver) -> None:
    answer = get(guarded, f"/?token={TOKEN}")
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert answer.headers["Cache-Control"] == "no-store"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    # Browsers don't send strict cookies after a link on another site.
    assert "samesite=lax" in cookie.lower()
    assert TOKEN not in cookie
    held = {"Cookie": cookie.partition(";")[0]}
    assert get(guarded, "/", held).status == 200
    assert get(guarded, "/api/events", held).status == 200
    with Receiver(access=Access("127.0.0.1", TOKEN + "x")) as other:
        renamed = {
            "Cookie": cookie.partition(";")[0].replace(str(guarded.dsn.port), str(other.dsn.port))
        }
        assert get(other, "/", renamed).status == 401


def test_other_programs_cookies_do_not_hide_ours(guarded: Receiver) -> None:
    own = get(guarded, f"/?token={TOKEN}").headers["Set-Cookie"].partition(";")[0]
    name = own.partition("=")[0]
    for other in (
        'a={"b":[1,2]}',
        "na/me=v",
        "x=a b c",
        'a"b=1',
        "flag",
        "=",
        "\xe4=\xe4",
        f"{name}=old",
    ):
        for cookies in (f"{other}; {own}", f"{own};{other}"):
            assert get(guarded, "/api/status", {"Cookie": cookies}).status == 200
        assert get(guarded, "/api/status", {"Cookie": other}).status == 401
        assert get(guarded, "/api/status", {"Cookie": f"{other}; x{own}"}).status == 401


@pytest.mark.parametrize("token", ["ab+cd/ef=gh+ij==", "ab%2Fcd%20ef+gh%", "some words + of ours"])
def test_a_token_may_be_pasted_plain_or_encoded(token: str) -> None:
    with Receiver(access=Access(token=token)) as receiver:
        # A browser encodes a pasted space itself.
        for given in (token.replace(" ", "%20"), quote(token, safe=""), quote_plus(token)):
            assert get(receiver, f"/?x=1&token={given}&y").status == 303
        assert get(receiver, f"/?token={token[:-1].replace(' ', '%20')}").status == 401


def test_a_wrong_token_in_the_address_is_refused_and_gives_no_cookie(guarded: Receiver) -> None:
    for query in ("token=wrong", "token=", "token", f"token={TOKEN}x", "token=%ff"):
        answer = get(guarded, f"/?{query}")
        assert answer.status == 401
        assert answer.headers["Set-Cookie"] is None
    # Only there: shared or logged addresses must not contain the token.
    assert get(guarded, f"/api/status?token={TOKEN}").status == 401


def test_envelopes_require_the_projects_key_and_no_token(guarded: Receiver) -> None:
    assert post(guarded, {}) == 200
    assert post(guarded, {"X-Sentry-Auth": "Sentry sentry_key=wrong"}) == 403
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert request(guarded, "POST", "/api/1/envelope/", ENVELOPE, bearer).status == 401


def test_no_other_path_counts_as_the_envelope_endpoint(guarded: Receiver) -> None:
    assert get(guarded, "/api/1/envelope/").status == 405
    for method, path in (
        ("POST", "/api/1/x/envelope/"),
        ("POST", "/x/api/1/envelope/"),
        ("POST", "/api/1/envelope/x"),
        ("GET", "/api/events/1/envelope/"),
        ("POST", "/api/events"),
        ("GET", "/api/events?/api/1/envelope/"),
    ):
        key = {"X-Sentry-Auth": guarded.dsn.auth_header}
        answer = request(guarded, method, path, ENVELOPE if method == "POST" else None, key)
        assert answer.status == 401
        assert "token" in answer.json["detail"]


def test_the_dsn_is_shown_on_loopback_only(open_one: Receiver, guarded: Receiver) -> None:
    assert get(open_one, "/api/status").json["dsn"] == str(open_one.dsn)
    answer = get(guarded, "/api/status", {"Authorization": f"Bearer {TOKEN}"})
    assert answer.json["dsn"] is None
    assert guarded.dsn.public_key not in answer.body.decode()


def test_a_token_applies_on_loopback_too() -> None:
    with Receiver(access=Access(token=TOKEN)) as receiver:
        assert get(receiver, "/api/status").status == 401
