"""The inspector as a Deployment: only a client with the token sees events."""

from __future__ import annotations

import urllib.error
import urllib.request

from tests.cluster.conftest import Figure
from tests.cluster.load import messages
from tests.cluster.scene import CONSUMER, Scene

_TOKEN = "0123456789abcdef-of-the-test"
_PORT = 8790


def test_the_inspector_shows_events_only_with_the_token(scene: Scene, figure: Figure) -> None:
    topic = scene.topic(1)
    sent = messages(CONSUMER, 20)
    scene.kafka.produce(topic, sent.values())
    scene.release.kubectl(
        "create", "secret", "generic", "inspector", f"--from-literal=token={_TOKEN}"
    )
    scene.release.install(
        {CONSUMER: scene.values(topic, 1)},
        inspector={
            "enabled": True,
            "consumer": CONSUMER,
            "from": "earliest",
            "token": {"existingSecret": {"name": "inspector"}},
        },
    )
    (pod,) = scene.release.pods("inspector")
    address = f"http://{pod['status']['podIP']}:{_PORT}/api/events"

    def ask(token: str) -> tuple[int, str]:
        headers = {"Host": "consumer-fleet-inspector", "Authorization": f"Bearer {token}"}
        request = urllib.request.Request(address, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def shows_all() -> bool:
        status, text = ask(_TOKEN)
        return status == 200 and all(event_id in text for event_id in sent)

    scene.cluster.wait_for(shows_all, "the inspector to show the events")
    refused = ask("another-token-of-nobody")[0]
    figure("without the token", f"HTTP {refused}")
    assert refused in (401, 403)
