"""Post envelopes to an inspector, fast."""

from __future__ import annotations

import http.client
import json
import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from consumer_fleet.capture.dsn import Dsn


def post_all(dsn: Dsn, envelopes: Sequence[bytes], connections: int = 4) -> None:
    """Post all of them over a few connections; any answer but 200 is an error."""
    refused: list[int] = []

    def post(own: Sequence[bytes]) -> None:
        connection = http.client.HTTPConnection(dsn.host, dsn.port, timeout=30)
        headers = {"X-Sentry-Auth": dsn.auth_header}
        for body in own:
            connection.request("POST", f"/api/{dsn.project_id}/envelope/", body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                refused.append(answer.status)
        connection.close()

    threads = [
        threading.Thread(target=post, args=(envelopes[number::connections],))
        for number in range(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not refused, f"{len(refused)} were refused, the first with {refused[0]}"


def post_event(dsn: Dsn, event: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> str:
    """Post one event in an envelope of its own, with this ``header``; return its event id."""
    event_id = str(event.get("event_id") or uuid.uuid4().hex)
    payload = json.dumps({**event, "event_id": event_id}).encode()
    head = json.dumps({"event_id": event_id, **(header or {})}).encode()
    post_all(dsn, [head + b'\n{"type":"event"}\n' + payload + b"\n"], connections=1)
    return event_id
