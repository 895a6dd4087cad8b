"""A plain loop: read messages with confluent-kafka, post each, commit. Runs until SIGTERM.

It does not look at what it posts: no parser, no retries, no parts to put together.
"""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from confluent_kafka import Consumer

from bench import peer

_AT_A_TIME = 16


def main() -> None:
    given = peer.parse(__doc__)
    consumer = Consumer(
        {
            "bootstrap.servers": given.bootstrap_servers,
            "group.id": given.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([given.topic])
    url = urlsplit(given.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port)
    while True:
        messages = consumer.consume(_AT_A_TIME, 1.0)
        for message in messages:
            value = message.value() or b""
            start = b'{}\n{"type":"attachment","length":%d}\n' % len(value)
            connection.putrequest("POST", url.path)
            connection.putheader("Content-Length", str(len(start) + len(value)))
            connection.endheaders(start)
            connection.send(value)
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.client.OK:
                raise RuntimeError(f"the upstream answered {answer.status}")
        if messages:
            consumer.commit(asynchronous=True)


if __name__ == "__main__":
    main()
