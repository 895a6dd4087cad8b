"""The destinations that the options name: one for each role and DSN."""

from __future__ import annotations

from typing import Any

from consumer_fleet.bootstrap.destinations import capture_options
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.capture.options import CaptureOptions

ONE, TWO, THREE = (f"https://key@{host}.example/1" for host in ("one", "two", "three"))


def built(**given: Any) -> CaptureOptions:
    return capture_options(resolve_options(OptionsRequest(given), {}).options)


def names(found: CaptureOptions) -> dict[int, tuple[str, ...]]:
    return {
        number: tuple("" if each is None else each.name for each in pair)
        for number, pair in found.projects.items()
    }


def test_projects_with_one_dsn_share_a_destination_named_after_the_first() -> None:
    found = built(
        upstream_dsn=ONE,
        projects={
            "9": {"upstream": TWO},
            "7": {"upstream": TWO, "saas": TWO},
            "8": {"upstream": ONE, "saas": THREE},
        },
    )
    assert names(found) == {
        7: ("upstream:7", "saas:7"),
        8: ("upstream", "saas:8"),
        9: ("upstream:7", ""),
    }
    assert [each.name for each in found.destinations] == [
        "upstream",
        "upstream:7",
        "saas:7",
        "saas:8",
    ]
    assert [each.option for each in found.destinations] == [
        "upstream_dsn",
        "projects.7.upstream",
        "projects.7.saas",
        "projects.8.saas",
    ]
    assert {each.role for each in found.destinations} == {"upstream", "saas"}


def test_a_project_has_the_default_destinations_that_it_does_not_replace() -> None:
    found = built(upstream_dsn=ONE, saas_dsn=TWO, projects={"7": {"saas": THREE}, "8": "default"})
    assert names(found) == {7: ("upstream", "saas:7"), 8: ("upstream", "saas")}


def test_a_projects_items_to_drop_replace_those_of_all_others() -> None:
    found = built(
        upstream_dsn=ONE,
        upstream_drop_items="transaction",
        projects={"7": {"upstream_drop_items": "log"}, "8": {"upstream_drop_items": ""}},
    )
    assert found.upstream is not None
    assert found.upstream.drop_items == {"transaction", "statsd"}
    dropped = [pair[0].drop_items for pair in found.projects.values() if pair[0] is not None]
    assert dropped == [{"log", "statsd"}, {"statsd"}]


def test_without_projects_nothing_changes() -> None:
    found = built(upstream_dsn=ONE, saas_dsn=TWO)
    assert [each.name for each in found.destinations] == ["upstream", "saas"]
    assert found.projects == {}
