"""A broker that is away does not fill the log."""

from __future__ import annotations

import logging

from consumer_fleet.kafka.clients import LogThrottle


def line(text: str) -> logging.LogRecord:
    return logging.LogRecord("librdkafka", logging.ERROR, "", 0, text, None, None)


def test_a_line_that_repeats_passes_once_in_a_while() -> None:
    now = [0.0]
    throttle = LogThrottle(lambda: now[0])
    passed = []
    for now[0] in (0.0, 0.1, 29.0, 31.0, 32.0):
        passed.append(throttle.filter(line("connect failed")))
    assert passed == [True, False, False, True, False]


def test_lines_that_differ_in_numbers_are_the_same_and_others_are_not() -> None:
    throttle = LogThrottle(lambda: 0.0)
    assert throttle.filter(line("connect failed after 12ms"))
    assert not throttle.filter(line("connect failed after 13ms"))
    assert throttle.filter(line("login refused"))
