"""The configuration file: where it lies, and what it holds.

An option is written as ``group: x``; nested mappings and dotted keys are the same thing
(``store: {use-relay-dsn-sample-rate: 1}``). An empty file holds no options.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from consumer_fleet.bootstrap.layers import MAPPING_FIELDS, LayerBuilder, RawLayer
from consumer_fleet.bootstrap.parsing import normalised_key
from consumer_fleet.bootstrap.redaction import without_userinfo
from consumer_fleet.errors import ConfigurationError

CONFIG_VARIABLE = "CONSUMER_CONF"
FILE_NAME = "config.yml"


def find_config(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read: ``--config``, else CONSUMER_CONF, else the user's; None where none is.

    A directory stands for the config.yml in it. Raises ConfigurationError where a place that
    somebody named does not exist; a missing default place is fine.
    """
    if config is not None:
        return _named_place(config, "--config")
    if environ.get(CONFIG_VARIABLE):
        return _named_place(Path(environ[CONFIG_VARIABLE]), CONFIG_VARIABLE)
    base = environ.get("XDG_CONFIG_HOME") or (
        environ["HOME"] + "/.config" if environ.get("HOME") else None
    )
    if base is None:
        return None
    default = Path(base) / "consumer-fleet" / FILE_NAME
    # Not Path.exists: it raises where a folder may not be looked into.
    return default if os.path.exists(default) else None  # noqa: PTH110 - see above


def _named_place(named: Path, by: str) -> Path:
    try:
        place = named.expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"{by}: can't expand {named}: {error}") from error
    try:
        if place.is_dir():
            place = place / FILE_NAME
        is_there = place.exists()
    except OSError as error:
        raise ConfigurationError(f"{by}: can't read {place}: {error.strerror}") from error
    if not is_there:
        raise ConfigurationError(
            f"{by}: there is no configuration file at {place}. "
            f"Create one with: consumer config --example > {shlex.quote(str(place))}"
        )
    return place


def file_layer(path: Path) -> RawLayer:
    """The options in the file. Raises ConfigurationError, as ``file:line:column``, on bad YAML."""
    try:
        return _layer(path)
    except RecursionError:
        # From None: the trace is a thousand lines. An anchor inside of itself nests for ever.
        raise ConfigurationError(f"{path}: nested too deeply") from None


def _layer(path: Path) -> RawLayer:
    builder = LayerBuilder(f"file {path}")
    root = _parse(path)
    if root is None:
        return builder.layer()
    if not isinstance(root, yaml.MappingNode):
        where = _at(path, root.start_mark)
        raise ConfigurationError(f"{where}: expected options as a mapping, like `group: my-group`")
    constructor = yaml.SafeLoader("")
    for key, node in _flattened(path, root):
        try:
            value = constructor.construct_object(node, deep=True)
        except yaml.MarkedYAMLError as error:
            raise ConfigurationError(
                f"{_at(path, node.start_mark)}: {_safe(error.problem)}"
            ) from None
        except (ValueError, AttributeError):
            # It looks like a date or a number, and is none. From None: the value may be a secret.
            raise ConfigurationError(
                f"{_at(path, node.start_mark)}: no date or number that there is; if it is text, "
                "put it in quotes"
            ) from None
        builder.add(key, value, place=f"file {path}:{node.start_mark.line + 1}, key {key}")
    return builder.layer()


def _parse(path: Path) -> yaml.Node | None:
    """The document's root. Nothing of the file's text gets into an error: it may be a secret."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"can't read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 at byte {error.start}") from None
    try:
        root: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigurationError(f"{_at(path, mark)}: {_safe(error.problem)}") from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        raise ConfigurationError(f"{path}:{line}:{column}: {error.reason}") from None
    if isinstance(root, yaml.ScalarNode) and root.tag == "tag:yaml.org,2002:null":
        return None
    return root


def _flattened(
    path: Path, mapping: yaml.MappingNode, prefix: str = ""
) -> Iterator[tuple[str, yaml.Node]]:
    seen: set[str] = set()
    for key_node, value_node in mapping.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigurationError(f"{_at(path, key_node.start_mark)}: a key should be text")
        name = str(key_node.value)
        if name in seen:
            raise ConfigurationError(f"{_at(path, key_node.start_mark)}: key {name} is given twice")
        seen.add(name)
        key = f"{prefix}{name}"
        if isinstance(value_node, yaml.MappingNode) and normalised_key(key) not in MAPPING_FIELDS:
            yield from _flattened(path, value_node, f"{key}.")
        else:
            yield key, value_node


def _at(path: Path, mark: Any) -> str:
    return str(path) if mark is None else f"{path}:{mark.line + 1}:{mark.column + 1}"


def _safe(problem: str | None) -> str:
    """The parser's complaint, less what it quotes from the file except its own token names."""
    return re.sub(r"'(?!<)[^']{2,}'", "…", problem or "not valid YAML")


SETTINGS_VARIABLE = "DJANGO_SETTINGS_MODULE"
# What an import passes through: here, and in Python itself.
_NOT_THE_USERS = (__file__, importlib.__file__, "<frozen ")


def load_django(environ: Mapping[str, str]) -> str | None:
    """Import the settings module and set Django up; the module's name, or None without one.

    Django itself keeps a second call from doing anything. Raises ConfigurationError where Django
    is not installed, or the module fails to import.
    """
    module = environ.get(SETTINGS_VARIABLE)
    if not module:
        return None
    try:
        import django  # noqa: PLC0415 - an optional dependency, and slow to import
        from django.conf import settings  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise ConfigurationError(
            f"{SETTINGS_VARIABLE} is set but Django is not installed. Install it with: "
            "pip install 'consumer-fleet[django]', or unset the variable."
        ) from error
    os.environ[SETTINGS_VARIABLE] = module
    try:
        # Settings are lazy: reading one makes Django import the module, so that it fails here.
        settings.DEBUG  # noqa: B018 - the access is the point
        django.setup()
    except Exception as error:
        # Somebody else's module runs here, so any exception is its own way to be wrong.
        raise ConfigurationError(
            f"{SETTINGS_VARIABLE}={module} can't be loaded: {_summary(error)}"
        ) from error
    return module


def django_layer(environ: Mapping[str, str]) -> RawLayer:
    """The options in the settings' ``CONSUMER`` dict, copied."""
    module = load_django(environ)
    if module is None:
        return RawLayer()
    from django.conf import settings  # noqa: PLC0415 - an optional dependency, and slow to import

    options = getattr(settings, "CONSUMER", {})
    if not isinstance(options, Mapping):
        raise ConfigurationError(f"Django settings {module}: CONSUMER should be a dict of options")
    builder = LayerBuilder(f"Django settings {module}")
    for key, value in options.items():
        builder.add(str(key), value, place=f"Django settings {module}, CONSUMER[{str(key)!r}]")
    return builder.layer()


def _summary(error: Exception) -> str:
    """The exception in one line, with the innermost place that is the user's; a traceback is for
    programmers.
    """
    import django  # noqa: PLC0415 - an optional dependency, and slow to import

    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((*_NOT_THE_USERS, *django.__path__))
    ]
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {without_userinfo(str(error))}{where}"
