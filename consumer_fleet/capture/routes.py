"""Where the envelopes of one project go, or those of all others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from consumer_fleet.capture.destination import Destination
from consumer_fleet.capture.options import CaptureOptions, DestinationOptions


class Route(NamedTuple):
    """The upstream and saas, as far as there are, and the types of items that each gets none of."""

    destinations: Sequence[Destination]
    dropped: Sequence[frozenset[str]]


def route_to(*destinations: Destination | None) -> Route:
    """A route to destinations that drop what their own options say."""
    given = [each for each in destinations if each is not None]
    return Route(given, [each.drop_items for each in given])


def project_routes(
    options: CaptureOptions, make: Callable[[DestinationOptions], Destination]
) -> Mapping[int, Route]:
    """The routes of projects; ``make`` returns the same destination for the same name."""
    routes = {}
    for project_id, pair in options.projects.items():
        given = [each for each in pair if each is not None]
        routes[project_id] = Route([make(each) for each in given], [e.drop_items for e in given])
    return routes


def distinct(routes: Iterable[Route]) -> list[Destination]:
    """Each destination once: routes share them."""
    return list({each.name: each for route in routes for each in route.destinations}.values())
