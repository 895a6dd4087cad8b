"""What backends have in common."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar


class ServiceInterface:
    """The base of an interface whose calls can be delegated.

    A subclass declares the interface and names its public members in ``interface``; backends
    subclass that one. What is not named there can't be reached through a delegator.
    """

    interface: ClassVar[tuple[str, ...]] = ()

    def close(self) -> None:
        """Let go of threads and connections. Called once, when no more calls come."""

    @classmethod
    def routines(cls) -> dict[str, Callable[..., Any]]:
        """The delegated part of the interface: name → the function as this class defines it.

        Raises TypeError where ``interface`` names something that the class does not have.
        """
        found: dict[str, Callable[..., Any]] = {}
        for name in cls.interface:
            try:
                member = inspect.getattr_static(cls, name)
            except AttributeError:
                raise TypeError(
                    f"{cls.__name__}.interface names {name!r}, which is not there"
                ) from None
            if inspect.isfunction(member):
                found[name] = member
        return found
