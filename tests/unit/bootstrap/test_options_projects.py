"""Projects in the options: their text forms, how sources merge, and errors that show no key."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from consumer_fleet.bootstrap.option_checks import check_destinations, dangerous_modes
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.parsing import shown
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options, set_pairs
from consumer_fleet.errors import ConfigurationError

KEY = "0123456789abcdef0123456789abcdef"
ONE = f"https://{KEY}@one.example/1"
TWO = f"https://{KEY}@two.example/2"


def options(*pairs: str, text: str = "", config: Path | None = None, **environ: str) -> Options:
    if config is not None:
        config.write_text(text)
    return resolve_options(OptionsRequest(set_pairs(pairs), config), environ).options


def hosts(found: Options) -> dict[int, list[str]]:
    return {
        number: [dsn.host for dsn in (project.upstream, project.saas) if dsn is not None]
        for number, project in found.projects.items()
    }


def test_every_source_can_give_projects_and_they_merge_key_by_key(tmp_path: Path) -> None:
    found = options(
        f"projects.44.saas={TWO}",
        config=tmp_path / "config.yml",
        text=f"projects:\n  42: {{upstream: '{ONE}', saas: '{ONE}'}}\n  43: default\n",
        CONSUMER_PROJECTS=json.dumps({"42": {"saas": TWO}}),
        CONSUMER_PROJECTS_45_UPSTREAM=TWO,
        CONSUMER_PROJECTS_45_UPSTREAM_DROP_ITEMS="transaction,span",
    )
    assert hosts(found) == {
        42: ["one.example", "two.example"],
        43: [],
        44: ["two.example"],
        45: ["two.example"],
    }
    assert found.projects[45].saas is None
    assert found.projects[45].upstream_drop_items == frozenset({"transaction", "span"})
    assert pickle.loads(pickle.dumps(found)).projects == found.projects
    assert found.with_defaults(workers=1).projects == found.projects


def test_items_to_drop_are_a_list_or_text(tmp_path: Path) -> None:
    text = "projects: {42: {saas_drop_items: [log, span], upstream_drop_items: 'log'}}"
    project = options(config=tmp_path / "config.yml", text=text).projects[42]
    assert project.saas_drop_items == frozenset({"log", "span"})
    assert project.upstream_drop_items == frozenset({"log"})


def test_no_key_is_shown() -> None:
    found = options(f"projects.42.upstream={ONE}", f"projects.42.key={KEY}")
    assert shown("projects", found.projects) == {
        "42": {"upstream": "https://***@one.example/1", "key": "[redacted]"}
    }
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ((f"projects.42.upstream={KEY}",), "key 42.upstream: not a DSN"),
        ((f"projects.forty.upstream={ONE}",), "not the number of a project"),
        ((f"projects.0.upstream={ONE}",), "not the number of a project"),
        ((f"projects.42.upstraem={ONE}",), "key 42.upstraem is unknown: a project has upstream"),
        ((f"projects.42={ONE}",), "a project has upstream, saas"),
        (("projects.42.saas_drop_items=transactoin",), "did you mean 'transaction'"),
        (("unmapped_projects=skip",), "needs projects"),
        (("unmapped_projects=drop",), "'default', 'skip' or 'dead-letter'"),
    ],
)
def test_a_bad_project_is_refused_without_its_value(pairs: tuple[str, ...], problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        options(*pairs)
    assert problem in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_project_that_a_file_gives_twice_is_refused(tmp_path: Path) -> None:
    text = f"projects:\n  42: {{upstream: '{ONE}'}}\n  42: {{upstream: '{TWO}'}}\n"
    with pytest.raises(ConfigurationError, match=r"config\.yml:3:3: key 42 is given twice"):
        options(config=tmp_path / "config.yml", text=text)


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ((f"projects.42.upstream={ONE}",), r"unmapped projects.*--upstream-dsn.*unmapped_projects"),
        (
            ("projects.42=default", "unmapped_projects=skip"),
            r"projects\.42: there is no DSN.*projects\.42\.upstream",
        ),
        (
            (f"projects.42.saas={ONE}", "unmapped_projects=skip"),
            r"projects\.42\.saas is the only destination.*would be lost.*projects\.42\.upstream",
        ),
    ],
)
def test_messages_without_any_destination_are_refused(pairs: tuple[str, ...], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        check_destinations(options("bootstrap_servers=kafka:9092", *pairs))


def test_projects_alone_are_enough_where_others_are_left_out() -> None:
    found = options(
        "bootstrap_servers=kafka:9092",
        "projects.42.upstream=http://key@one.example/1",
        "unmapped_projects=skip",
    )
    check_destinations(found)
    warnings = list(dangerous_modes(found))
    assert [each.split()[0] for each in warnings] == ["unmapped_projects", "projects.42.upstream"]
