"""Django as a source of options: the ``CONSUMER`` dict of the settings module."""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Mapping

from fleet.bootstrap.layers import LayerBuilder, RawLayer
from fleet.bootstrap.redaction import without_userinfo
from fleet.errors import ConfigurationError

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
