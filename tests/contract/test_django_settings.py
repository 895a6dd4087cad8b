"""Django's settings as a source of options.

They are process-wide and can be loaded once, so each test has its own process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SECRET = "hunter2-very-secret"

PROBE = """
import json, sys
from consumer_fleet.bootstrap.configure import configure
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.errors import FleetError
try:
    resolved = resolve_options(OptionsRequest(json.loads(sys.argv[1])))
    app = configure(resolved.options)
except FleetError as error:
    print(json.dumps({"error": str(error)}))
else:
    from django.apps import apps
    from django.conf import settings
    print(json.dumps({
        "group": app.options.group, "origin": resolved.origins["group"],
        "kafka_config": app.options.kafka_config, "ready": apps.ready,
        "settings": repr(settings.CONSUMER),
    }))
"""


def in_django(
    tmp_path: Path,
    settings: str,
    command_line: dict[str, object] | None = None,
    blocker: str = "",
    **environ: str,
) -> dict[str, Any]:
    (tmp_path / "shop_settings.py").write_text(settings)
    completed = subprocess.run(
        [sys.executable, "-c", blocker + PROBE, json.dumps(command_line or {})],
        env={
            "DJANGO_SETTINGS_MODULE": "shop_settings",
            "PYTHONPATH": f"{tmp_path}:{ROOT}",
            "HOME": str(tmp_path),
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in completed.stderr
    answer: dict[str, Any] = json.loads(completed.stdout)
    return answer


def test_django_settings_beat_the_file_and_the_environment_beats_them(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("group: file\n")
    settings = "CONSUMER = {'group': 'django'}\n"
    conf = str(tmp_path)
    answer = in_django(tmp_path, settings, CONSUMER_CONF=conf)
    assert answer["group"] == "django"
    assert answer["origin"] == "Django settings shop_settings"
    answer = in_django(tmp_path, settings, CONSUMER_CONF=conf, CONSUMER_GROUP="environment")
    assert answer["group"] == "environment"


SENTRYS_SETTINGS = """
SENTRY_SEARCH = "sentry.utils.services.ServiceDelegator"
SENTRY_TAGSTORE = "sentry.tagstore.snuba.SnubaTagStorage"
SENTRY_TSDB = "sentry.tsdb.redissnuba.RedisSnubaTSDB"
SENTRY_EVENTSTREAM = "sentry.eventstream.dummy.Dummy"
SENTRY_FEATURES = {"organizations:discover": True, "organizations:incidents": False}
SENTRY_SDK_UPSTREAM_METRICS_ENABLED = True
SENTRY_OPTIONS = {"store.use-relay-dsn-sample-rate": 0.5, "system.secret-key": "x"}
SENTRY_SDK_CONFIG = {"dsn": "https://a@upstream/1", "relay_dsn": "https://b@saas/2", "release": "x"}
"""


def options_in_django(tmp_path: Path, settings: str, **environ: str) -> dict[str, Any]:
    (tmp_path / "shop_settings.py").write_text(settings)
    run = subprocess.run(
        [Path(sys.executable).parent / "consumer", "config", "--json"],
        cwd=tmp_path,
        env={"DJANGO_SETTINGS_MODULE": "shop_settings", "HOME": str(tmp_path), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return {name: entry["value"] for name, entry in json.loads(run.stdout).items()}


def test_sentrys_own_settings_are_read(tmp_path: Path) -> None:
    seen = options_in_django(tmp_path, SENTRYS_SETTINGS)
    assert seen["search_backend"] == "sentry.utils.services.servicedelegator"
    assert seen["tagstore_backend"] == "sentry.tagstore.snuba.snubatagstorage"
    assert seen["tsdb_backend"] == "sentry.tsdb.redissnuba.redissnubatsdb"
    assert seen["eventstream_backend"] == "sentry.eventstream.dummy.dummy"
    assert seen["features"] == ["organizations:discover"]
    assert seen["sentry_sdk_upstream_metrics_enabled"] is True
    assert seen["store_use_relay_dsn_sample_rate"] == 0.5
    assert seen["upstream_dsn"] == "https://***@upstream/1"
    assert seen["saas_dsn"] == "https://***@saas/2"


def test_an_eventstream_in_sentrys_settings_that_is_not_snubas_ends_the_boot(
    tmp_path: Path,
) -> None:
    (tmp_path / "shop_settings.py").write_text(SENTRYS_SETTINGS)
    run = subprocess.run(
        [Path(sys.executable).parent / "consumer", "run", "--topic", "events"],
        cwd=tmp_path,
        env={
            "DJANGO_SETTINGS_MODULE": "shop_settings",
            "HOME": str(tmp_path),
            "CONSUMER_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 78
    assert "can't continue without Snuba: organizations:discover" in run.stderr


def test_the_dict_and_the_environment_beat_sentrys_own_settings(tmp_path: Path) -> None:
    settings = f"{SENTRYS_SETTINGS}CONSUMER = {{'eventstream-backend': 'kafka'}}\n"
    seen = options_in_django(tmp_path, settings, CONSUMER_FEATURES="organizations:sso")
    assert seen["eventstream_backend"] == "kafka"
    assert seen["features"] == ["organizations:sso"]


def test_django_is_set_up_and_its_dict_is_never_changed(tmp_path: Path) -> None:
    settings = "CONSUMER = {'kafka.config': {'debug': 'broker'}, 'GROUP': 'g'}\n"
    answer = in_django(tmp_path, settings, CONSUMER_KAFKA_CONFIG="client.id=me")
    assert answer["ready"] is True
    assert answer["kafka_config"] == {"debug": "broker", "client.id": "me"}
    assert answer["settings"] == "{'kafka.config': {'debug': 'broker'}, 'GROUP': 'g'}"


def test_django_is_set_up_in_a_worker_too_whose_options_are_its_parents(tmp_path: Path) -> None:
    (tmp_path / "shop_settings.py").write_text("CONSUMER = {'group': 'changed'}\n")
    code = """
from consumer_fleet.bootstrap.configure import Bootstrap
from consumer_fleet.bootstrap.options import Options
app = Bootstrap().configure(Options(group="parent"), role="worker", worker_number=0)
from django.apps import apps
print(app.options.group, apps.ready)
"""
    completed = subprocess.run(
        [sys.executable, "-c", code],
        env={"DJANGO_SETTINGS_MODULE": "shop_settings", "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert completed.stdout.split() == ["parent", "True"]


APP_THAT_CONFIGURES = """
from django.apps import AppConfig
class Shop(AppConfig):
    name = "shop"
    def ready(self):
        from consumer_fleet.bootstrap import configure
        from consumer_fleet.bootstrap.options import Options
        from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
        %s
"""


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("configure.configure(Options())", "configure was called again"),
        ("resolve_options(OptionsRequest())", "while Django loads its apps"),
    ],
)
def test_an_app_of_django_that_configures_in_ready_is_an_error_and_no_deadlock(
    call: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "shop_settings.py").write_text("INSTALLED_APPS = ['shop.Shop']\n")
    (tmp_path / "shop.py").write_text(APP_THAT_CONFIGURES % call)
    code = """
from consumer_fleet.bootstrap import configure
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.errors import ConfigurationError
try:
    configure.configure(Options(), role="worker", worker_number=0)
except ConfigurationError as error:
    print(error)
"""
    completed = subprocess.run(
        [sys.executable, "-c", code],
        env={"DJANGO_SETTINGS_MODULE": "shop_settings", "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert said in completed.stdout
    assert "DJANGO_SETTINGS_MODULE=shop_settings can't be loaded" in completed.stdout


def test_the_working_directory_is_importable_for_the_settings(tmp_path: Path) -> None:
    (tmp_path / "shop_settings.py").write_text("CONSUMER = {'group': 'here'}\n")
    run = subprocess.run(
        [Path(sys.executable).parent / "consumer", "config", "--json"],
        cwd=tmp_path,
        env={"DJANGO_SETTINGS_MODULE": "shop_settings", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert json.loads(run.stdout)["group"]["value"] == "here"


def test_settings_that_exit_are_an_error_that_says_so(tmp_path: Path) -> None:
    message = in_django(tmp_path, "raise SystemExit('no database')\n")["error"]
    assert "SystemExit: no database" in message


def test_an_unknown_option_in_django_settings_is_an_error_with_its_location(tmp_path: Path) -> None:
    answer = in_django(tmp_path, "CONSUMER = {'groop': 'x'}\n")
    assert answer["error"] == (
        "Django settings shop_settings, CONSUMER['groop']: unknown option; did you mean group?"
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("import shop_missing\n", "No module named 'shop_missing'"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("CONSUMER = [\n", "SyntaxError"),
        ("INSTALLED_APPS = ['shop_missing']\n", "No module named 'shop_missing'"),
        ("CONSUMER = ['group']\n", "should be a dict"),
        ("raise ValueError('https://hunter2-very-secret@x/1')\n", "ValueError"),
    ],
)
def test_settings_that_fail_to_load_are_an_error_that_says_why(
    tmp_path: Path, settings: str, said: str
) -> None:
    message = in_django(tmp_path, settings)["error"]
    assert "shop_settings" in message
    assert said in message
    assert SECRET not in message


def test_a_settings_module_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    message = in_django(tmp_path, "", DJANGO_SETTINGS_MODULE="no_such_settings")["error"]
    # Without a place: none of the user's own code is at fault.
    assert message == (
        "DJANGO_SETTINGS_MODULE=no_such_settings can't be loaded: "
        "ModuleNotFoundError: No module named 'no_such_settings'"
    )


def test_the_line_of_the_settings_that_fails_is_named(tmp_path: Path) -> None:
    message = in_django(tmp_path, "DEBUG = True\nimport shop_missing\n")["error"]
    assert message.endswith(f"No module named 'shop_missing' ({tmp_path}/shop_settings.py:2)")


def test_without_django_installed_the_error_names_the_extra(tmp_path: Path) -> None:
    blocker = "import sys; sys.modules['django'] = None\n"
    message = in_django(tmp_path, "", blocker=blocker)["error"]
    assert "consumer-fleet[django]" in message
