"""The configuration file: where it is, and its options as a `Layer`."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from consumer_fleet.bootstrap.parsing import normalised_key
from consumer_fleet.bootstrap.sources import CONFIG_VARIABLE, MAPPING_FIELDS, Layer
from consumer_fleet.errors import ConfigurationError

FILE_NAME = "config.yml"


def find_config(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read: ``--config``, else CONSUMER_CONF, else the user's; None if there is none.

    A directory stands for the config.yml in it. Raises ConfigurationError where a path that
    somebody named does not exist; a missing default file is fine.
    """
    if config is not None:
        return _named_file(config, "--config")
    if environ.get(CONFIG_VARIABLE):
        return _named_file(Path(environ[CONFIG_VARIABLE]), CONFIG_VARIABLE)
    base = environ.get("XDG_CONFIG_HOME") or (
        environ["HOME"] + "/.config" if environ.get("HOME") else None
    )
    if base is None:
        return None
    default = Path(base) / "consumer-fleet" / FILE_NAME
    # Not Path.exists: it raises where a folder may not be searched.
    return default if os.path.exists(default) else None  # noqa: PTH110 - see above


class _Loader(yaml.SafeLoader):
    """Reads plain scalars by YAML 1.2, and as text where a number would not keep all characters.

    PyYAML reads YAML 1.1: ``0123`` is 83 there, ``12:34:56`` is 45296 and ``1_000`` is 1000.
    """

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as its base declares it


for _tag, _form, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", "<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_form})$"), _first)


def _float(loader: _Loader, node: yaml.ScalarNode) -> float | str:
    number: float = loader.construct_yaml_float(node)
    # A version 1.10 is not 1.1, wherever text is asked for.
    return number if str(number) == node.value or "e" in node.value.lower() else node.value


_Loader.add_constructor("tag:yaml.org,2002:float", _float)


def _named_file(named: Path, by: str) -> Path:
    try:
        path = named.expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"{by}: can't expand {named}: {error}") from error
    try:
        if path.is_dir():
            path = path / FILE_NAME
        exists = path.exists()
    except OSError as error:
        raise ConfigurationError(f"{by}: can't read {path}: {error.strerror}") from error
    if not exists:
        raise ConfigurationError(
            f"{by}: there is no configuration file at {path}. "
            f"Create one with: consumer config --example > {shlex.quote(str(path))}"
        )
    return path


def file_layer(path: Path | None) -> Layer:
    """The options in the file; none in an empty one, or where there is no file.

    Raises ConfigurationError, with ``file:line:column``, on bad YAML.
    """
    layer = Layer(f"file {path}", drops_newline=True)
    if path is None:
        return layer
    try:
        _read_file(path, layer)
    except RecursionError:
        # From None: the trace is a thousand lines. An anchor inside itself nests without end.
        raise ConfigurationError(f"{path}: nested too deeply") from None
    return layer


def _read_file(path: Path, layer: Layer) -> None:
    root = _parse(path)
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        where = _at(path, root.start_mark)
        raise ConfigurationError(f"{where}: expected options as a mapping, like `group: my-group`")
    constructor = _Loader("")
    for key, node in _flattened(path, root):
        try:
            value = constructor.construct_object(node, deep=True)
        except yaml.MarkedYAMLError as error:
            raise ConfigurationError(
                f"{_at(path, node.start_mark)}: {_safe(error.problem)}"
            ) from None
        except (ValueError, AttributeError):
            # It looks like a date or a number. From None: the value may be a secret.
            raise ConfigurationError(
                f"{_at(path, node.start_mark)}: not a valid date or number; if it is text, put "
                "it in quotes"
            ) from None
        layer.add(key, value, f"file {path}:{node.start_mark.line + 1}, key {key}")


def _parse(path: Path) -> yaml.Node | None:
    """The document's root. None of the file's text gets into an error: it may be a secret."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"can't read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 at byte {error.start}") from None
    try:
        root: yaml.Node | None = yaml.compose(text, Loader=_Loader)
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
            _refuse_repeated_keys(path, value_node)
            yield key, value_node


def _refuse_repeated_keys(path: Path, node: yaml.Node) -> None:
    """In a value that is a mapping: the parser would take the last."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key_node, value_node in node.value:
        name = str(key_node.value)
        if name in seen:
            raise ConfigurationError(f"{_at(path, key_node.start_mark)}: key {name} is given twice")
        seen.add(name)
        _refuse_repeated_keys(path, value_node)


def _at(path: Path, mark: Any) -> str:
    return str(path) if mark is None else f"{path}:{mark.line + 1}:{mark.column + 1}"


def _safe(problem: str | None) -> str:
    """The parser's complaint, less what it quotes from the file except its own token names."""
    return re.sub(r"'(?!<)[^']{2,}'", "…", problem or "not valid YAML")
