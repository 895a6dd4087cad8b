"""The demo: every kind of entry, all of them valid."""

from __future__ import annotations

from consumer_fleet.capture.envelope import parse
from consumer_fleet.inspector.coverage import build_coverage
from consumer_fleet.inspector.coverage.service import CoverageQuery, CoverageSettings
from consumer_fleet.inspector.demo import REPORT, demo_event, demo_feed
from consumer_fleet.inspector.description import describe
from consumer_fleet.inspector.store import Store


def test_the_demo_has_every_kind_of_entry_and_all_can_be_stored() -> None:
    store = Store()
    for batch in demo_feed():
        store.add_all(batch)
    entries = store.latest(100)
    kinds = (
        "error default transaction feedback csp session check_in statsd future_item undecodable"
        " log trace_metric span client_report"
    )
    assert set(kinds.split()) <= {entry.type for entry in entries}
    assert {"python", "javascript", "native", "csharp"} <= {entry.platform for entry in entries}
    assert {"attachment", "profile"} < {kind for entry in entries for kind in entry.item_types}
    assert any(entry.dead_letter for entry in entries)
    assert entries[0].title == "RateMissing: no rate from SEK to NOK"
    times = [entry.received_at for entry in entries]
    assert times == sorted(times, reverse=True)
    store.close()


def test_its_envelopes_are_valid() -> None:
    for entry in next(demo_feed()):
        if entry.envelope is not None:
            assert parse(entry.raw) == entry.envelope
        assert describe(entry).title


def test_its_coverage_report_has_the_lines_of_its_source() -> None:
    service = build_coverage(CoverageSettings(reports=(REPORT,)))
    frame = demo_event("python")["exception"]["values"][1]["stacktrace"]["frames"][2]
    coverage = service.coverage(CoverageQuery(frame["filename"], abs_path=frame["abs_path"]))
    codes = dict(coverage.lines)
    assert set(codes.values()) == {0, 1, 2}
    assert codes[frame["lineno"]] == 1  # what no test ran is where it failed
    source = [*frame["pre_context"], frame["context_line"], *frame["post_context"]]
    first = frame["lineno"] - len(frame["pre_context"])
    shown = {line: text.strip() for line, text in enumerate(source, first)}
    assert len(codes.keys() & shown.keys()) >= 8
    assert all(shown[line] for line in codes.keys() & shown.keys())
