"""Produce messages whose header names are any bytes, which confluent-kafka's producer can't.

It calls the librdkafka that confluent-kafka brings.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import confluent_kafka

_FLUSH_MS = 30_000
# librdkafka's tags of ``rd_kafka_producev``'s arguments (``rd_kafka_vtype_t`` in rdkafka.h).
_END, _TOPIC, _PARTITION, _VALUE, _KEY, _FLAGS, _HEADERS = 0, 1, 3, 4, 5, 7, 10
_COPY = 2


def produce_with_raw_headers(
    bootstrap_servers: str,
    topic: str,
    values: Sequence[bytes],
    headers: Sequence[tuple[bytes, bytes]],
    *,
    key: bytes = b"key",
) -> None:
    """Write the values to partition 0 and block until the broker has them."""
    library = _library()
    handle = _producer(library, bootstrap_servers)
    number = ctypes.c_int
    for value in values:
        block = library.rd_kafka_headers_new(len(headers))
        for name, content in headers:
            library.rd_kafka_header_add(block, name, len(name), content, len(content))
        code = library.rd_kafka_producev(
            ctypes.c_void_p(handle),
            *(number(_TOPIC), ctypes.c_char_p(topic.encode())),
            *(number(_PARTITION), ctypes.c_int32(0)),
            *(number(_VALUE), ctypes.c_char_p(value), ctypes.c_size_t(len(value))),
            *(number(_KEY), ctypes.c_char_p(key), ctypes.c_size_t(len(key))),
            *(number(_FLAGS), number(_COPY)),
            *(number(_HEADERS), ctypes.c_void_p(block)),
            number(_END),
        )
        assert code == 0, f"librdkafka refused the message: {code}"
    assert library.rd_kafka_flush(handle, _FLUSH_MS) == 0
    library.rd_kafka_destroy(handle)


def _library() -> ctypes.CDLL:
    folder = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    (path,) = folder.glob("librdkafka-*.so*")
    library = ctypes.CDLL(str(path))
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ssize_t
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(library, name).restype = pointer
    library.rd_kafka_conf_set.argtypes = [pointer, text, text, text, size]
    library.rd_kafka_new.argtypes = [ctypes.c_int, pointer, text, size]
    library.rd_kafka_headers_new.argtypes = [size]
    library.rd_kafka_header_add.argtypes = [pointer, text, size, text, size]
    library.rd_kafka_flush.argtypes = [pointer, ctypes.c_int]
    library.rd_kafka_destroy.argtypes = [pointer]
    return library


def _producer(library: ctypes.CDLL, bootstrap_servers: str) -> int:
    problem = ctypes.create_string_buffer(512)
    settings = library.rd_kafka_conf_new()
    servers = bootstrap_servers.encode()
    library.rd_kafka_conf_set(settings, b"bootstrap.servers", servers, problem, len(problem))
    handle = library.rd_kafka_new(0, settings, problem, len(problem))
    assert handle, problem.value
    return int(handle)
