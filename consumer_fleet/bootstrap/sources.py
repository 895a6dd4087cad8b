"""The sources of options: command line, environment, Django settings, configuration file.

Each becomes a `Layer` (the file in config_file.py, Sentry's settings in sentry_conf.py): its
options as plain data, with the location of each, before anything is validated. Case, dots and
dashes in a name make no difference, and nested mappings and dotted keys are the same
(``store: {use-relay-dsn-sample-rate: 1}``).
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from os import PathLike, fspath

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.parsing import normalised_key
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.printable import without_userinfo

FIELDS = tuple(Options.model_fields)
# These merge key by key over the sources, and take keys of their own: kafka_config.sasl.mechanism.
MAPPING_FIELDS = ("kafka_config", "metrics_tags", "projects", "snuba_topic_map")

CONFIG_VARIABLE = "CONSUMER_CONF"
SETTINGS_VARIABLE = "DJANGO_SETTINGS_MODULE"
# An import passes through these files: this one, and Python's own.
_NOT_THE_USERS = (__file__, importlib.__file__, "<frozen ")

# Sentry's own settings that hold an option: the setting, the key in it, and the option.
_OF_SENTRY = (
    ("SENTRY_SEARCH", None, "search_backend"),
    ("SENTRY_TAGSTORE", None, "tagstore_backend"),
    ("SENTRY_TSDB", None, "tsdb_backend"),
    ("SENTRY_EVENTSTREAM", None, "eventstream_backend"),
    ("SENTRY_FEATURES", None, "features"),
    ("SENTRY_SDK_UPSTREAM_METRICS_ENABLED", None, "sentry_sdk_upstream_metrics_enabled"),
    ("SENTRY_OPTIONS", "store.use-relay-dsn-sample-rate", "store_use_relay_dsn_sample_rate"),
    ("SENTRY_PROJECT", None, "internal_project_id"),
    # Sentry's own pair: its "upstream", and "saas".
    ("SENTRY_SDK_CONFIG", "dsn", "upstream_dsn"),
    ("SENTRY_SDK_CONFIG", "relay_dsn", "saas_dsn"),
)

PREFIX = "CONSUMER_"
# Known by this name to everyone who runs Sentry, so it counts without the prefix too.
_UNPREFIXED = "SENTRY_SDK_UPSTREAM_METRICS_ENABLED"
# Kubernetes describes every Service of a namespace in such variables: a Service called "consumer"
# would otherwise stop each pod next to it.
_SERVICE_LINK = re.compile(
    r"^CONSUMER_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP)(?:_\w+)?)?)$"
)


@dataclass(frozen=True, slots=True)
class RawValue:
    """One option as its source gives it. ``origin`` is for display, ``location`` for errors."""

    name: str
    origin: str
    location: str
    raw: object = field(repr=False)  # may be a secret


@dataclass(slots=True)
class Layer:
    """The options of one source. Unknown or repeated ones become ``problems``, which are reported
    together with all others; ``warnings`` are reported if there are none.
    """

    origin: str
    # Values from files and variables often end with a newline that nobody meant, such as secrets.
    drops_newline: bool = False
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _values: dict[tuple[str, str | None], RawValue] = field(default_factory=dict)

    def add(self, key: str, raw: object, location: str, origin: str | None = None) -> None:
        """Take one option. A value of None means "not given": lower sources then count."""
        target = _target(key)
        if target is None:
            self.problems.append(f"{location}: unknown option{_suggestion(key)}")
            return
        name, subkey = target
        if target in self._values:
            first = self._values[target].location
            self.problems.append(f"{location}: {name} is given twice ({first})")
            return
        try:
            plain = _plain(raw)
        except TypeError as error:
            self.problems.append(f"{location}: {error}")
            return
        if self.drops_newline and (stripped := _without_last_newline(plain)) != plain:
            # Pairs as text, one a line, end with a newline on purpose.
            if not (name in MAPPING_FIELDS and subkey is None and isinstance(plain, str)):
                self.warnings.append(f"{location}: dropped the newline at the end of the value")
            plain = stripped
        if plain is not None:
            value = plain if subkey is None else {subkey: plain}
            self._values[target] = RawValue(name, origin or self.origin, location, value)

    def has(self, name: str) -> bool:
        """Whether the option of this name is given."""
        return (name, None) in self._values

    @property
    def values(self) -> list[RawValue]:
        """The options; single keys of a mapping last, so that they win over the whole."""
        ordered = sorted(self._values.items(), key=lambda item: item[0][1] is not None)
        return [value for _, value in ordered]


def _suggestion(key: str) -> str:
    close = difflib.get_close_matches(normalised_key(key), FIELDS, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _target(key: str) -> tuple[str, str | None] | None:
    """The field a key names and, for a mapping field, the key inside it."""
    name = normalised_key(key)
    if name in FIELDS:
        return name, None
    for mapping in MAPPING_FIELDS:
        subkey = key.strip()[len(mapping) + 1 :]
        if name.startswith(f"{mapping}_") and subkey:
            return mapping, subkey
    return None


def _plain(value: object) -> object:
    """A deep copy made of built-in types only: it shares nothing with its source."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, PathLike):
        return fspath(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    raise TypeError(f"expected text, a number, a list or a mapping, not {type(value).__name__}")


def _without_last_newline(value: object) -> object:
    """The value, where each text in it has lost one newline at its end."""
    if isinstance(value, str):
        return value.removesuffix("\n").removesuffix("\r") if value.endswith("\n") else value
    if isinstance(value, dict):
        return {key: _without_last_newline(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_last_newline(item) for item in value]
    return value


def command_line_layer(given: Mapping[str, object]) -> Layer:
    """Options by any spelling of their names, as click gives them."""
    layer = Layer("command line")
    for key, value in given.items():
        if value is None or (isinstance(value, list | tuple) and not value):
            continue
        known = normalised_key(key) in FIELDS
        option = f"--{normalised_key(key).replace('_', '-')} (or --set {key})"
        layer.add(key, value, location=option if known else f"--set {key}")
    return layer


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """``CONSUMER_<NAME>``. An empty variable counts as not set: compose files and charts pass on
    unset values as empty ones.

    One Kafka property may have a variable of its own, so that a password can come from a secret
    store: CONSUMER_KAFKA_CONFIG_SASL_PASSWORD is ``sasl.password``. So may a project's DSN:
    CONSUMER_PROJECTS_42_UPSTREAM is ``42.upstream``.
    """
    layer = Layer("environment", drops_newline=True)
    unprefixed = environ.get(_UNPREFIXED)
    if unprefixed and not environ.get(PREFIX + _UNPREFIXED):
        _add_variable(layer, _UNPREFIXED, _UNPREFIXED, unprefixed)
    kafka_prefix, projects_prefix = f"{PREFIX}KAFKA_CONFIG_", f"{PREFIX}PROJECTS_"
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE or not value:
            continue
        if variable.startswith(kafka_prefix):
            property_name = variable.removeprefix(kafka_prefix).lower().replace("_", ".")
            _add_variable(layer, variable, f"kafka_config.{property_name}", value)
        elif variable.startswith(projects_prefix):
            key = variable.removeprefix(projects_prefix).lower().replace("_", ".", 1)
            _add_variable(layer, variable, f"projects.{key}", value)
        elif not _is_service_link(variable, value):
            _add_variable(layer, variable, variable.removeprefix(PREFIX), value)
    return layer


def _add_variable(layer: Layer, variable: str, key: str, value: str) -> None:
    layer.add(key, value, f"environment variable {variable}", origin=f"environment {variable}")


def _is_service_link(variable: str, value: str) -> bool:
    if normalised_key(variable.removeprefix(PREFIX)) in FIELDS:
        # A Service called consumer-statsd makes a CONSUMER_STATSD_PORT, with a URL as its value.
        return variable.endswith("_PORT") and re.match(r"(?:tcp|udp)://", value) is not None
    return _SERVICE_LINK.match(variable) is not None


def load_django(environ: Mapping[str, str]) -> str | None:
    """Import the settings module and set Django up; the module's name, or None without one.

    The working directory is importable, as with ``manage.py``. Django itself keeps a second call
    from doing anything. Raises ConfigurationError where Django is not installed, the module fails
    to import, or Django is loading its apps right now.
    """
    module = environ.get(SETTINGS_VARIABLE)
    if not module:
        return None
    try:
        import django  # noqa: PLC0415 - an optional dependency, and slow to import
        from django.apps import apps  # noqa: PLC0415 - likewise
        from django.conf import settings  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise ConfigurationError(
            f"{SETTINGS_VARIABLE} is set but Django is not installed. Install it with: "
            "pip install 'consumer-fleet[django]', or unset the variable."
        ) from error
    os.environ[SETTINGS_VARIABLE] = module
    _make_working_directory_importable()
    # Django's own error for it says "populate() isn't reentrant".
    is_loading = apps.loading and not apps.ready
    try:
        # Settings are lazy: reading one makes Django import the module, so that it fails here.
        settings.DEBUG  # noqa: B018 - the access is the point
        django.setup()
    except (Exception, SystemExit) as error:
        if is_loading:
            raise ConfigurationError(
                "the options were asked for while Django loads its apps, as by AppConfig.ready(): "
                "do it after django.setup()."
            ) from error
        # The user's module runs here and may raise anything, or exit.
        raise ConfigurationError(
            f"{SETTINGS_VARIABLE}={module} can't be loaded: {summary(error, *django.__path__)}"
        ) from error
    return module


def _make_working_directory_importable() -> None:
    with suppress(FileNotFoundError):  # the directory may have been removed
        # Last: nothing in it takes the place of an installed package.
        if (here := os.getcwd()) not in sys.path:  # noqa: PTH109 - sys.path holds text
            sys.path.append(here)


def summary(error: BaseException, *foreign: str) -> str:
    """The exception in one line, with the innermost location in the user's own code."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((*_NOT_THE_USERS, *foreign))
    ]
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {without_userinfo(str(error))}{where}"


def django_layer(environ: Mapping[str, str]) -> Layer:
    """The options in the settings' ``CONSUMER`` dict, then those in Sentry's own settings."""
    module = load_django(environ)
    layer = Layer(f"Django settings {module}")
    if module is None:
        return layer
    from django.conf import settings  # noqa: PLC0415 - an optional dependency, and slow to import

    add_settings(layer, lambda name: getattr(settings, name, None))
    return layer


def add_settings(layer: Layer, setting_of: Callable[[str], object]) -> None:
    """Add the options in the settings' ``CONSUMER`` dict, then those in Sentry's own settings."""
    options = setting_of("CONSUMER") or {}
    if not isinstance(options, Mapping):
        raise ConfigurationError(f"{layer.origin}: CONSUMER should be a dict of options")
    for key, value in options.items():
        layer.add(str(key), value, f"{layer.origin}, CONSUMER[{str(key)!r}]")
    for setting, key, option in _OF_SENTRY:
        value = setting_of(setting)
        name = setting
        if key is not None and value is not None:
            name = f"{setting}[{key!r}]"
            if not isinstance(value, Mapping):
                raise ConfigurationError(f"{layer.origin}: {setting} should be a dict")
            value = value.get(key)
        if option == "features" and isinstance(value, Mapping):
            value = [name for name, is_on in value.items() if is_on is True]
        if value not in (None, "") and not layer.has(option):
            where = f"{layer.origin}, {name}"
            layer.add(option, value, where, origin=where)
