"""The inspector's JSON API: every path, its responses and its errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from consumer_fleet.capture.envelope import build, make_item
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.inspector.coverage.service import CoverageSettings
from consumer_fleet.inspector.demo import REPORT
from consumer_fleet.inspector.entry import (
    DeliveryResponse,
    EntrySource,
    KafkaPosition,
    NewEntry,
    Rejection,
)
from consumer_fleet.inspector.feeder import as_bytes
from consumer_fleet.inspector.lookup import EventLookup, Found
from consumer_fleet.inspector.receiver import Receiver, View
from consumer_fleet.inspector.security import Access
from consumer_fleet.inspector.source import SourceRoot
from consumer_fleet.inspector.store import Store
from tests.support.inspecting import Answer, event_entry, get, raw_entry, request

ID = "9ec79c33ec9942ab8353589fcb2e04dc"
LARGE = b'{"event_id":"%b","registers":18446744073709551615}' % ID.encode()
HEADER = (
    b'{"event_id":"%b","dsn":"https://secretkey@o1.example.com/2","sent_at":"2026-01-01T00:00:00Z",'
    b'"trace":{"trace_id":"t","public_key":"secretkey"},"kafka":{"topic":"events","partition":3,'
    b'"offset":77}}' % ID.encode()
)
RAW = b"\n".join(
    [
        HEADER,
        b'{"type":"attachment","length":4,"filename":"../../x\\".html"}',
        b"<a>\n",
        b'{"type":"event","length":%d,"x":9007199254740993}' % len(LARGE),
        LARGE,
        b"",
    ]
)


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.close()


@pytest.fixture
def receiver(store: Store) -> Iterator[Receiver]:
    view = View(EntrySource("topic", "events"), coverage=CoverageSettings(reports=(REPORT,)))
    with Receiver(store, view=view) as receiver:
        yield receiver


def newest(receiver: Receiver) -> int:
    return receiver.store.newest_id()


def test_the_status_has_version_source_and_counts(receiver: Receiver) -> None:
    receiver.store.add(raw_entry(RAW))
    status = get(receiver, "/api/status").json
    assert status["source"] == {"kind": "topic", "name": "events", "problem": None}
    assert status["counts"] == receiver.store.counts()._asdict()
    assert status["counts"]["accepted"] == 1
    assert status["coverage"] is True
    assert status["dsn"] == str(receiver.dsn)
    assert status["version"]


def test_a_listed_entry_has_all_known_facts(receiver: Receiver) -> None:
    letter = Rejection("http_413", "too large", "g", "events", 3, 77)
    receiver.store.add(
        event_entry(
            {"exception": {"values": [{"type": "E", "value": "v"}]}, "platform": "python"},
            ID,
            received_at=12.5,
            origin=KafkaPosition("events-dlq", 0, 5, 1_700_000_000_000),
            answers=(DeliveryResponse("upstream", 413, "large", 12.0),),
            dead_letter=letter,
        )
    )
    listed = get(receiver, "/api/events").json
    (event,) = listed.pop("events")
    assert listed == {"store": receiver.store.instance, "total": 1, "next": None, "repeats": {}}
    assert event.pop("size_bytes") > 0
    assert event.pop("issue")
    assert event == {
        "id": newest(receiver),
        "event_id": ID,
        "received_at": 12.5,
        "project": "1",
        "type": "error",
        "level": "error",
        "title": "E: v",
        "culprit": "",
        "platform": "python",
        "item_types": ["event"],
        "origin": {
            "topic": "events-dlq",
            "partition": 0,
            "offset": 5,
            "timestamp_ms": 1_700_000_000_000,
        },
        "answers": [{"destination": "upstream", "status": 413, "detail": "large", "at": 12.0}],
        "dead_letter": {
            "reason": "http_413",
            "detail": "too large",
            "group": "g",
            "topic": "events",
            "partition": 3,
            "offset": 77,
        },
    }


def test_lists_are_filtered_and_paged(receiver: Receiver) -> None:
    receiver.store.add_all(
        [
            event_entry({"message": f"number {n}", "level": "info" if n % 2 else "fatal"})
            for n in range(6)
        ]
    )

    def titles(query: str) -> list[str]:
        page = get(receiver, f"/api/events?{query}").json
        return [event["title"][-1] for event in page["events"]]

    assert titles("") == list("543210")
    assert titles("level=info") == list("531")
    assert titles("q=NUMBER+4") == ["4"]
    assert titles("type=error") == []
    assert titles("dead=0&type=&level=") == list("543210")
    first = get(receiver, "/api/events?limit=4").json
    assert first["total"] == 6
    assert titles(f"limit=4&before={first['next']}") == list("10")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=-1", "before=0", "before=1.5", "before=%C2%B2", "dead=2"]
)
def test_an_invalid_parameter_is_a_bad_request_that_names_it(
    receiver: Receiver, query: str
) -> None:
    answer = get(receiver, f"/api/events?{query}")
    assert answer.status == 400
    assert answer.json["detail"].startswith(query.partition("=")[0])


def test_no_number_is_too_large(receiver: Receiver) -> None:
    assert get(receiver, f"/api/events?limit=99999&before={2**63}").status == 200
    digits = "9" * 5000
    for path in (str(10**30), str(2**63), "0", digits, f"{digits}/raw", f"{digits}/items/0"):
        assert get(receiver, f"/api/events/{path}").status == 404
    receiver.store.add(raw_entry(RAW))
    assert get(receiver, f"/api/events/{newest(receiver)}/items/{digits}").status == 404


def test_an_entry_shows_its_items_without_keys(receiver: Receiver) -> None:
    receiver.store.add(raw_entry(RAW))
    answer = get(receiver, f"/api/events/{newest(receiver)}")
    entry = answer.json
    assert b"secretkey" not in answer.body
    assert entry["header"] == {
        "event_id": ID,
        "sent_at": "2026-01-01T00:00:00Z",
        "trace": {"trace_id": "t"},
        "kafka": {"topic": "events", "partition": 3, "offset": 77},
    }
    assert entry["event"] == 1
    assert entry["undecodable"] is None
    assert entry["summary"] == get(receiver, "/api/events").json["events"][0]
    assert [(item["index"], item["type"], item["size_bytes"]) for item in entry["items"]] == [
        (0, "attachment", 4),
        (1, "event", len(LARGE)),
    ]
    assert entry["items"][1]["header"]["x"] == 9007199254740993


def test_an_item_is_returned_byte_for_byte(receiver: Receiver) -> None:
    receiver.store.add(raw_entry(RAW))
    path = f"/api/events/{newest(receiver)}/items"

    event = get(receiver, f"{path}/1")
    assert event.body == LARGE
    assert event.headers["Content-Type"] == "application/json"
    assert event.headers["Content-Disposition"] is None

    attachment = get(receiver, f"{path}/0")
    assert attachment.body == b"<a>\n"
    assert attachment.headers["Content-Type"] == "application/octet-stream"
    assert attachment.headers["X-Content-Type-Options"] == "nosniff"
    assert attachment.headers["Content-Disposition"].startswith('attachment; filename="entry-')
    assert ".html" not in attachment.headers["Content-Disposition"]

    assert get(receiver, f"{path}/2").status == 404
    assert get(receiver, f"{path}/-1").status == 404


def test_the_envelope_is_returned_without_its_key(receiver: Receiver) -> None:
    receiver.store.add(raw_entry(RAW))
    answer = get(receiver, f"/api/events/{newest(receiver)}/raw")
    assert b"secretkey" not in answer.body
    assert answer.body.partition(b"\n")[2] == RAW.partition(b"\n")[2]
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["Content-Type"] == "application/octet-stream"


def test_an_undecodable_message_shows_its_bytes(receiver: Receiver) -> None:
    receiver.store.add(NewEntry(b"\x93\x01" * 500, None, 1.0, undecodable="invalid_json: no"))
    path = f"/api/events/{newest(receiver)}"
    entry = get(receiver, path).json
    assert entry["undecodable"]["error"] == "invalid_json: no"
    assert entry["undecodable"]["hex_preview"].startswith("93 01 93")
    assert len(entry["undecodable"]["hex_preview"].split()) == 256
    assert (entry["items"], entry["event"], entry["header"]) == ([], None, {})
    assert get(receiver, f"{path}/raw").body == b"\x93\x01" * 500
    assert get(receiver, f"{path}/items/0").status == 404


def test_an_event_is_looked_up_by_its_id_in_any_form(receiver: Receiver) -> None:
    receiver.store.add_all([raw_entry(RAW), raw_entry(RAW)])
    dashed = f"{ID[:8]}-{ID[8:12]}-{ID[12:16]}-{ID[16:20]}-{ID[20:]}".upper()
    for event_id in (ID, dashed):
        assert get(receiver, f"/api/lookup/{event_id}").json == {"id": newest(receiver)}
    assert get(receiver, f"/api/lookup/{'0' * 32}").status == 404
    assert get(receiver, "/api/lookup/nothing").status == 400


class Elsewhere(EventLookup):
    def find(self, event_id: str) -> Found | None:
        raw = as_bytes(build(event_id, [make_item("event", b'{"message":"found"}')]))
        return Found(raw, KafkaPosition("events", 1, 2, 3000), "topic")


def test_concurrent_searches_add_one_entry(store: Store) -> None:
    together = threading.Barrier(4)

    class Simultaneous(Elsewhere):
        def find(self, event_id: str) -> Found | None:
            together.wait(10)
            return super().find(event_id)

    view = View(lookup=Simultaneous())
    with Receiver(store, view=view) as receiver, ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(get, receiver, f"/api/lookup/{ID}") for _ in range(4)]
        found = {answer.result(10).json["id"] for answer in answers}
    assert found == {newest(receiver)}
    assert store.counts().kept == 1


class Stuck(EventLookup):
    """Searches until the test ends it."""

    def __init__(self) -> None:
        self.asked, self.end = threading.Semaphore(0), threading.Event()

    def find(self, event_id: str) -> Found | None:
        self.asked.release()
        self.end.wait(20)
        return None


def test_stored_events_are_found_while_searches_are_running(store: Store) -> None:
    lookup = Stuck()
    store.add(raw_entry(RAW))
    with Receiver(store, view=View(lookup=lookup)) as receiver, ThreadPoolExecutor(4) as pool:
        searches = [pool.submit(get, receiver, f"/api/lookup/{n:032x}") for n in range(4)]
        for _ in searches:
            assert lookup.asked.acquire(timeout=10)
        assert get(receiver, f"/api/lookup/{ID}").json == {"id": newest(receiver)}
        lookup.end.set()
        assert {search.result(10).status for search in searches} == {404}


@pytest.mark.timed
def test_a_stop_does_not_wait_for_searches(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    lookup = Stuck()
    receiver = Receiver(store, view=View(lookup=lookup))
    receiver.start()
    with ThreadPoolExecutor(1) as pool:
        search = pool.submit(get, receiver, f"/api/lookup/{ID}")
        assert lookup.asked.acquire(timeout=10)
        started = time.monotonic()
        receiver.stop()
        # Less than uvicorn's timeout for unfinished requests.
        assert time.monotonic() - started < 1.5
        assert search.result(10).status == 503
        lookup.end.set()
    assert caplog.records == []


def test_an_unreadable_store_is_an_error(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConfigurationError("the store '/secret/path' can't be used: malformed")

    for name in ("page", "content"):
        monkeypatch.setattr(receiver.store, name, fail)
    receiver.store.add(raw_entry(RAW))
    for path in ("/api/events", f"/api/events/{newest(receiver)}"):
        answer = get(receiver, path)
        assert (answer.status, answer.json) == (503, {"detail": "the store can't be read"})


def test_an_event_found_elsewhere_is_stored_and_shown(store: Store) -> None:
    with Receiver(store, view=View(lookup=Elsewhere())) as receiver:
        found = get(receiver, f"/api/lookup/{ID}").json["id"]
        summary = get(receiver, f"/api/events/{found}").json["summary"]
    assert (summary["title"], summary["event_id"]) == ("found", ID)
    assert summary["origin"]["offset"] == 2
    assert summary["received_at"] == 3.0


def test_the_coverage_of_a_frames_file_is_returned(receiver: Receiver) -> None:
    answer = get(
        receiver, "/api/coverage?entry=1&file=shop/checkout.py&abs_path=/srv/shop/checkout.py"
    ).json
    assert answer["status"] == "COVERAGE_EXISTS"
    assert [12, 1] in answer["lineCoverage"]
    assert [13, 2] in answer["lineCoverage"]
    assert set(answer) == {
        "status", "lineCoverage", "coverageUrl", "provider", "reason", "timings_ms",
    }  # fmt: skip
    assert list(answer["timings_ms"]) == ["local"]
    other = get(receiver, "/api/coverage?file=nothing.py").json
    assert (other["status"], other["lineCoverage"]) == ("NO_COVERAGE_DATA", [])


def test_a_missing_or_endless_file_name_is_a_bad_request(receiver: Receiver) -> None:
    assert get(receiver, "/api/coverage").status == 400
    assert get(receiver, f"/api/coverage?file={'x' * 5000}").status == 400


def test_without_a_provider_the_status_is_no_integration(store: Store) -> None:
    with Receiver(store) as receiver:
        assert get(receiver, "/api/status").json["coverage"] is False
        answer = get(receiver, "/api/coverage?file=a.py").json
    assert (answer["status"], answer["lineCoverage"]) == ("NO_INTEGRATION", [])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/api/nothing", 404),
        ("GET", "/api/events/abc", 404),
        ("POST", "/api/events", 405),
        ("DELETE", "/api/events/1", 405),
        ("GET", "/assets/../api.py", 404),
        ("GET", "/assets/%2e%2e/index.html", 404),
        ("GET", "/assets//etc/passwd", 404),
    ],
)
def test_a_refusal_is_json_with_a_detail(
    receiver: Receiver, method: str, path: str, status: int
) -> None:
    answer = request(receiver, method, path, None, {})
    assert answer.status == status
    assert list(answer.json) == ["detail"]


def test_a_bug_is_a_response_without_its_traceback(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(receiver.store, "page", fail)
    answer = get(receiver, "/api/events")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert "detail" in answer.json


def make_bundle(folder: Path) -> Path:
    (folder / "assets").mkdir()
    (folder / "index.html").write_text("<!doctype html><title>built</title>")
    (folder / "assets" / "index-1a2b.js").write_text("export {}")
    (folder / "assets" / "index-1a2b.css").write_text("a {}")
    (folder / "assets" / "notes.md").write_text("not served")
    (folder / "secret.js").write_text("not served")
    return folder


def test_the_built_page_is_served_with_its_files(store: Store, tmp_path: Path) -> None:
    with Receiver(store, view=View(bundle=make_bundle(tmp_path))) as receiver:
        page = get(receiver, "/")
        script = get(receiver, "/assets/index-1a2b.js")
        style = get(receiver, "/assets/index-1a2b.css")
        assert page.body == b"<!doctype html><title>built</title>"
        assert page.headers["Content-Type"].startswith("text/html")
        assert page.headers["Cache-Control"] == "no-store"
        assert (script.body, script.headers["Content-Type"]) == (
            b"export {}",
            "text/javascript; charset=utf-8",
        )
        assert style.headers["Content-Type"] == "text/css; charset=utf-8"
        assert "immutable" in script.headers["Cache-Control"]
        for path in ("/assets/notes.md", "/assets/secret.js", "/assets/../secret.js", "/secret.js"):
            assert get(receiver, path).status == 404


def test_without_a_bundle_a_plain_page_explains_how_to_build_it(
    store: Store, tmp_path: Path
) -> None:
    with Receiver(store, view=View(bundle=tmp_path / "none")) as receiver:
        page = get(receiver, "/")
        style = get(receiver, "/plain.css")
    assert b"make setup" in page.body
    assert b"<style" not in page.body
    assert style.headers["Content-Type"].startswith("text/css")


def test_concurrent_clients_do_not_interfere(receiver: Receiver) -> None:
    """Envelopes, lists and coverage at the same time, from several clients."""
    replies: list[Answer] = []

    def ask() -> None:
        for _ in range(10):
            replies.append(get(receiver, "/api/events"))
            replies.append(get(receiver, "/api/coverage?file=shop/checkout.py"))
            headers = {"X-Sentry-Auth": receiver.dsn.auth_header}
            replies.append(request(receiver, "POST", "/api/1/envelope/", RAW, headers))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {reply.status for reply in replies} == {200}
    assert receiver.store.counts().accepted == 40


def test_an_entry_of_another_store_or_an_evicted_one_is_no_longer_stored() -> None:
    with closing(Store(max_rows=100)) as store, Receiver(store) as receiver:
        for _ in range(102):
            receiver.store.add(raw_entry(RAW))
        own = receiver.store.instance
        entry = f"/api/events/{newest(receiver)}"
        for path in (entry, f"{entry}/items/0", f"{entry}/raw"):
            assert get(receiver, f"{path}?store={own}").status == 200
            answer = get(receiver, f"{path}?store=0{own}")
            detail = "no longer stored: the entry was deleted, or is from an earlier run"
            assert (answer.status, answer.json["detail"]) == (404, detail)
        evicted, unknown = get(receiver, "/api/events/1"), get(receiver, "/api/events/103")
        assert evicted.json["detail"] == "no longer stored: the entry was evicted"
        assert unknown.json["detail"] == "entry not found"
        assert (evicted.status, unknown.status) == (404, 404)


def test_a_trace_is_joined_over_entries(receiver: Receiver) -> None:
    trace = {"trace_id": "a" * 32, "span_id": "b" * 16}
    event = {"type": "transaction", "transaction": "/pay", "contexts": {"trace": trace}}
    receiver.store.add(event_entry(event, "1" * 32))
    receiver.store.add(event_entry({"message": "x", "contexts": {"trace": trace}}, "2" * 32))
    assert get(receiver, "/api/events/2").json["traces"] == ["a" * 32]
    found = get(receiver, f"/api/traces/{'A' * 32}").json
    assert [span["name"] for span in found["spans"]] == ["/pay"]
    assert [mark["title"] for mark in found["marks"]] == ["x"]
    assert found["entries"]["2"] == {"event_id": "2" * 32, "project": "1"}
    assert found["is_complete"] is True
    assert get(receiver, f"/api/traces/{'c' * 32}").json["spans"] == []
    assert get(receiver, "/api/traces/1").status == 400
    assert get(receiver, "/api/events/1/trace").json["spans"] == found["spans"]
    assert get(receiver, "/api/events/x/trace").status == 404


def test_filters_offer_the_stored_values(receiver: Receiver) -> None:
    receiver.store.add(event_entry({"platform": "go"}, project="7"))
    assert get(receiver, "/api/choices").json["platform"] == ["go"]
    assert get(receiver, "/api/events?platform=go&project=7").json["total"] == 1
    assert get(receiver, "/api/events?platform=go&project=1").json["total"] == 0


def test_browser_sdks_of_an_allowed_origin_send_envelopes_and_read_nothing() -> None:
    allowed, foreign = {"Origin": "http://shop.example:3000"}, {"Origin": "http://evil.example"}
    access = Access(allowed_origins=("http://shop.example:3000",))
    with Receiver(access=access) as receiver:
        path = f"/api/1/envelope/?sentry_key={receiver.dsn.public_key}"
        preflight = request(receiver, "OPTIONS", path, None, allowed)
        assert preflight.status == 204
        assert "X-Sentry-Auth" in preflight.headers["Access-Control-Allow-Headers"]
        posted = request(receiver, "POST", path, RAW, allowed)
        assert (posted.status, posted.headers["Access-Control-Allow-Origin"]) == (
            200,
            "http://shop.example:3000",
        )
        assert "X-Sentry-Rate-Limits" in posted.headers["Access-Control-Expose-Headers"]
        for refused in (
            request(receiver, "OPTIONS", path, None, foreign),
            request(receiver, "POST", path, RAW, foreign),
            get(receiver, "/api/events", allowed),
            request(receiver, "DELETE", "/api/events", None, allowed),
        ):
            assert refused.status == 403
            assert "Access-Control-Allow-Origin" not in refused.headers
        assert receiver.store.counts().kept == 1


def test_an_origin_is_not_a_pattern_or_an_address_of_a_page() -> None:
    for origin in ("*", "shop.example", "http://shop.example/", "http://*.example", "null"):
        with pytest.raises(ConfigurationError, match="not a valid origin"):
            Access(allowed_origins=(origin,))


def test_source_lines_are_served_if_there_is_a_checkout(store: Store, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/cart.py").write_text("first\nsecond\n")
    with Receiver(store, view=View(source_root=SourceRoot(tmp_path))) as receiver:
        path = "/api/source?file=/srv/shop/cart.py&line="
        found = get(receiver, f"{path}2").json
        assert found == {"lines": [[1, "first"], [2, "second"]], "commit": None}
        assert (get(receiver, f"{path}9").status, get(receiver, f"{path}x").status) == (404, 400)
        assert get(receiver, "/api/status").json["source_root"] is True
    with Receiver(store) as receiver:
        assert get(receiver, f"{path}2").status == 404


def test_only_this_origin_can_clear_the_list(receiver: Receiver) -> None:
    receiver.store.add(event_entry({}))
    foreign = {"Origin": "http://evil.example"}
    assert request(receiver, "DELETE", "/api/events", None, foreign).status == 403
    assert get(receiver, "/api/events").json["total"] == 1
    assert request(receiver, "DELETE", "/api/events", None, {}).status == 200
    assert get(receiver, "/api/events").json["total"] == 0
