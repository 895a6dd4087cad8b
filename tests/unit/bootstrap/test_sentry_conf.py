"""Sentry's own configuration at SENTRY_CONF, as a source of options."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer_fleet.bootstrap.resolve import OptionsRequest, Resolved, resolve_options
from consumer_fleet.bootstrap.sentry_conf import sentry_host
from consumer_fleet.bootstrap.validate_snuba import validate_snuba
from consumer_fleet.errors import ConfigurationError

DEFAULTS = """
SENTRY_SEARCH = "sentry.search.snuba.EventsDatasetSnubaSearchBackend"
SENTRY_TAGSTORE = "sentry.tagstore.snuba.SnubaTagStorage"
SENTRY_TSDB = "sentry.tsdb.redissnuba.RedisSnubaTSDB"
SENTRY_EVENTSTREAM = "sentry.eventstream.snuba.SnubaEventStream"
SENTRY_PROJECT = 1
"""
SETTINGS = """
from sentry_for_a_test.conf.server import *
SENTRY_EVENTSTREAM = "sentry.eventstream.dummy.Dummy"
SENTRY_FEATURES = {"organizations:discover": True}
SENTRY_SDK_CONFIG = {"dsn": "https://very-secret-key@upstream/1"}
SENTRY_OPTIONS = {"store.use-relay-dsn-sample-rate": 0.25}
CONSUMER = {"group": "mine"}
"""


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as at SENTRY_CONF, beside a Sentry that has nothing but its default settings."""
    server = tmp_path / "site" / "sentry_for_a_test" / "conf" / "server.py"
    server.parent.mkdir(parents=True)
    server.write_text(DEFAULTS)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "sentry.conf.py").write_text(SETTINGS)
    return folder


def resolved(place: Path, **environ: str) -> Resolved:
    return resolve_options(OptionsRequest(), {"SENTRY_CONF": str(place), **environ})


def refused(place: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        resolved(place)
    return str(caught.value)


def test_the_settings_file_is_run_on_top_of_sentrys_defaults(conf: Path) -> None:
    for place in (conf, conf / "sentry.conf.py"):
        found = resolved(place)
        options = found.options
        assert options.tagstore_backend == "sentry.tagstore.snuba.snubatagstorage"
        assert options.features == ("organizations:discover",)
        assert options.internal_project_id == 1
        assert str(options.upstream_dsn) == "https://very-secret-key@upstream/1"
        assert options.store_use_relay_dsn_sample_rate == 0.25
        assert options.group == "mine"
        where = f"Sentry settings {conf / 'sentry.conf.py'}"
        assert found.origins["eventstream_backend"] == f"{where}, SENTRY_EVENTSTREAM"
        assert found.origins["group"] == where


def test_validate_snuba_then_checks_the_eventstream_that_sentry_runs_with(conf: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't continue without Snuba: organizations:dis"):
        validate_snuba(resolved(conf).options, "worker")
    (conf / "sentry.conf.py").write_text("from sentry_for_a_test.conf.server import *\n")
    validate_snuba(resolved(conf).options, "worker")


def test_sentrys_options_file_wins_over_the_settings_and_may_be_alone(conf: Path) -> None:
    text = "system.secret-key: x\nstore.use-relay-dsn-sample-rate: 1\nother: [1]\n"
    (conf / "config.yml").write_text(text)
    assert resolved(conf).options.store_use_relay_dsn_sample_rate == 1
    (conf / "sentry.conf.py").unlink()
    alone = resolved(conf)
    assert alone.options.store_use_relay_dsn_sample_rate == 1
    assert alone.options.group is None
    (conf / "config.yml").write_text("")
    assert resolved(conf).options.store_use_relay_dsn_sample_rate == 0


def test_the_file_of_this_program_loses_and_the_environment_wins(conf: Path) -> None:
    own = conf / "own.yml"
    own.write_text("group: file\nstall_timeout_s: 7\n")
    options = resolved(conf, CONSUMER_CONF=str(own)).options
    assert (options.group, options.stall_timeout_s) == ("mine", 7)
    assert resolved(conf, CONSUMER_GROUP="environment").options.group == "environment"


def test_each_way_of_being_unreadable_is_an_error_that_names_the_file(conf: Path) -> None:
    settings = conf / "sentry.conf.py"
    settings.write_text("from sentry.conf.server import *\n")
    assert "Install this program beside Sentry" in refused(conf)
    settings.write_text("\nraise SystemExit(3)\n")
    assert "sentry.conf.py can't be loaded: SystemExit: 3" in refused(conf)
    assert f"({settings}:2)" in refused(conf)
    settings.write_text("x = ]")
    assert "can't be loaded: SyntaxError" in refused(conf)
    settings.write_text("SENTRY_OPTIONS = 7\n")
    assert "SENTRY_OPTIONS should be a dict" in refused(conf)
    settings.unlink()
    assert "SENTRY_CONF: there is no" in refused(conf)
    assert "SENTRY_CONF: there is no" in refused(conf / "nowhere")
    options = conf / "config.yml"
    options.write_text("- hunter2-very-secret\n")
    assert "config.yml: expected options as a mapping" in refused(conf)
    options.write_text("a: b\nhunter2-very-secret: [")
    assert f"{options}:2: not valid YAML" in refused(conf)
    assert "hunter2" not in refused(conf)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("system.url-prefix: https://sentry.example.com", "sentry.example.com"),
        ("system.url-prefix: 'https://[broken'", None),
        ("system.url-prefix: 7", None),
        ("mail.backend: smtp", None),
    ],
)
def test_the_host_of_sentry_is_that_of_its_url(tmp_path: Path, url: str, host: str | None) -> None:
    (tmp_path / "config.yml").write_text(url + "\n")
    assert sentry_host({"SENTRY_CONF": str(tmp_path)}) == host
    assert sentry_host({}) is None
