"""Sentry's own configuration, where SENTRY_CONF names it as it does for Sentry."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from consumer_fleet.bootstrap.sources import Layer, add_settings, summary
from consumer_fleet.errors import ConfigurationError

SENTRY_CONF_VARIABLE = "SENTRY_CONF"
_SETTINGS_FILE = "sentry.conf.py"
_OPTIONS_FILE = "config.yml"
# Of Sentry's options, which its config.yml and SENTRY_OPTIONS hold.
_URL = "system.url-prefix"
_SAMPLE_RATE = "store.use-relay-dsn-sample-rate"


def sentry_layer(environ: Mapping[str, str]) -> Layer:
    """The options in the settings file and in the config.yml at SENTRY_CONF; none without it.

    As for Sentry, it names a folder with at least one of them, or the settings file. Only the
    parent reads them. Raises ConfigurationError where there is neither, or one can't be read.
    """
    named = environ.get(SENTRY_CONF_VARIABLE)
    if not named:
        return Layer(SENTRY_CONF_VARIABLE)
    place = Path(named).expanduser()
    is_folder = place.is_dir()
    settings_file = place / _SETTINGS_FILE if is_folder else place
    options_file = place / _OPTIONS_FILE if is_folder else None
    layer = Layer(f"Sentry settings {settings_file}")
    if options_file is not None and options_file.exists():
        rate = _sentry_options(options_file).get(_SAMPLE_RATE)
        where = f"Sentry options {options_file}, {_SAMPLE_RATE}"
        layer.add(_SAMPLE_RATE, rate, where, origin=where)
        if not settings_file.exists():
            return layer
    if not settings_file.is_file():
        raise ConfigurationError(
            f"{SENTRY_CONF_VARIABLE}: there is no {settings_file}. Name the folder of Sentry's "
            f"{_SETTINGS_FILE}, or unset the variable."
        )
    settings = _run(settings_file)
    add_settings(layer, settings.get)
    return layer


def sentry_host(environ: Mapping[str, str]) -> str | None:
    """The host of the Sentry at SENTRY_CONF, if its config.yml tells."""
    named = environ.get(SENTRY_CONF_VARIABLE)
    path = Path(named or "").expanduser() / _OPTIONS_FILE
    if not named or not path.is_file():
        return None
    url = _sentry_options(path).get(_URL)
    with suppress(ValueError):
        return urlsplit(url).hostname if isinstance(url, str) else None
    return None


def _run(path: Path) -> dict[str, object]:
    """The settings that the file sets, which usually begins with all of Sentry's defaults."""
    try:
        return runpy.run_path(str(path), run_name="sentry_config")
    except (Exception, SystemExit) as error:
        # The user's file may raise anything, or exit.
        advice = ""
        if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("sentry"):
            advice = (
                ". Install this program beside Sentry, or unset the variable and give Sentry's "
                "values as options."
            )
        raise ConfigurationError(
            f"{SENTRY_CONF_VARIABLE}: {path} can't be loaded: {summary(error)}{advice}"
        ) from error


def _sentry_options(path: Path) -> Mapping[str, object]:
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        # From None: the text of the file may hold secrets.
        mark = getattr(error, "problem_mark", None)
        where = str(path) if mark is None else f"{path}:{mark.line + 1}"
        why = error.strerror if isinstance(error, OSError) else "not valid YAML"
        raise ConfigurationError(f"{SENTRY_CONF_VARIABLE}: {where}: {why}") from None
    if not isinstance(options, Mapping | None):
        raise ConfigurationError(f"{SENTRY_CONF_VARIABLE}: {path}: expected options as a mapping")
    return options or {}
