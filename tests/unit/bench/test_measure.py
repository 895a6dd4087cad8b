"""Reading other programs' output: a figure that is misread still looks like one."""

from __future__ import annotations

import pytest

from bench.measure import growth_percent, parse_delivery, parse_wrk, rate
from bench.upstream import Stats

WRK = """Running 5s test @ http://127.0.0.1:33709/api/1/envelope/
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   512.34us  301.22us   9.02ms   91.11%
    Req/Sec    56.77k     3.12k   61.05k    72.00%
  567642 requests in 5.00s, 83.91MB read
Requests/sec: 113528.62
Transfer/sec:     16.78MB
"""


def test_the_rate_of_wrk_is_the_one_over_all_threads() -> None:
    assert parse_wrk(WRK) == 113528.62


def test_an_output_of_wrk_without_a_rate_is_an_error() -> None:
    with pytest.raises(ValueError, match="no rate"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused")


def test_the_first_message_only_starts_the_clock() -> None:
    assert rate(Stats(accepted=3, refused=0, first_ns=10**9, last_ns=2 * 10**9)) == 2


def test_growth_is_from_the_first_sample_to_the_last() -> None:
    assert growth_percent([200, 500, 210]) == 5


def test_the_median_of_deliveries_is_read() -> None:
    printed = "socket    90,000 envelopes/s     8.7 µs CPU\nsocket median 8.9 µs CPU\n"
    assert parse_delivery(printed) == 8.9
