"""The fleet view's server: who may see it, its JSON, and its stream."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from consumer_fleet.errors import ConfigurationError, ServiceError
from consumer_fleet.inspector.fleet import FleetBoard
from consumer_fleet.inspector.fleet_server import FleetServer
from consumer_fleet.inspector.receiver import Receiver, View
from tests.support.fleet_scene import quiet
from tests.support.inspecting import get

TOKEN = "0123456789abcdef"


@pytest.fixture
def board() -> FleetBoard:
    board = FleetBoard()
    board.publish(quiet(at_s=100.0))
    return board


@pytest.fixture
def server(board: FleetBoard) -> Iterator[FleetServer]:
    with FleetServer(board, "127.0.0.1:0") as server:
        yield server


def ask(url: str, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def next_event(response: http.client.HTTPResponse) -> tuple[str, Any]:
    name, data, _ = (response.readline().decode().rstrip("\n") for _ in range(3))
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_the_stream_begins_with_the_history_and_goes_on_with_each_view(
    server: FleetServer, board: FleetBoard
) -> None:
    response = ask(server.url, "/api/fleet/stream")
    assert response.headers["Content-Type"].startswith("text/event-stream")
    name, history = next_event(response)
    assert (name, len(history["samples"])) == ("history", 1)
    name, update = next_event(response)
    assert (name, update["view"]["at_s"]) == ("view", 100.0)
    assert update["sample"] == history["samples"][0]
    board.publish(quiet(at_s=101.0))
    assert next_event(response)[1]["view"]["at_s"] == 101.0


def test_the_json_has_the_latest_view(server: FleetServer) -> None:
    found = json.loads(ask(server.url, "/api/fleet").read())
    assert [each["name"] for each in found["view"]["consumers"]] == ["events"]
    assert found["has_events"] is False


def test_the_address_leads_to_the_page(server: FleetServer) -> None:
    answer = ask(server.url, "/")
    assert (answer.status, answer.headers["Location"]) == (303, "/fleet")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert ask(server.url, "/nothing").status == 404
    assert ask(server.url, "/api/1/envelope/").status == 404


def test_an_unknown_host_and_another_origin_are_refused(server: FleetServer) -> None:
    refused = ask(server.url, "/api/fleet", Host="attacker.example")
    assert (refused.status, b"use localhost" in refused.read()) == (400, True)
    assert ask(server.url, "/api/fleet", Origin="http://attacker.example").status == 403


def test_a_public_address_needs_the_token(
    board: FleetBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="set a token"):
        FleetServer(board, "0.0.0.0:0")
    monkeypatch.setenv("INSPECTOR_TOKEN", TOKEN)
    with FleetServer(board, "0.0.0.0:0") as server:
        assert TOKEN not in server.url
        assert ask(server.url, "/api/fleet").status == 401
        assert ask(server.url, "/api/fleet", Authorization=f"Bearer {TOKEN}").status == 200


def test_a_port_in_use_is_named(server: FleetServer, board: FleetBoard) -> None:
    address = urlsplit(server.url).netloc
    with pytest.raises(ServiceError, match=f"'page': can't listen on {address}"):
        FleetServer(board, address)


def test_an_inspector_with_a_board_shows_both(board: FleetBoard) -> None:
    with Receiver(view=View(fleet=board)) as receiver:
        assert get(receiver, "/api/status").json["fleet"] is True
        assert get(receiver, "/api/fleet").json["has_events"] is True
    with Receiver() as receiver:
        assert get(receiver, "/api/status").json["fleet"] is False
        assert get(receiver, "/api/fleet").status == 404
