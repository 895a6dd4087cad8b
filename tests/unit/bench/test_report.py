"""What the benchmark makes of other programs' output: a figure that is misread looks like one."""

from __future__ import annotations

import os

import msgpack
import orjson
import pytest

from bench import proc
from bench.backlog import messages
from bench.goals import at_least, at_most, ratios
from bench.latency import percentiles
from bench.measure import growth_percent, parse_delivery, parse_wrk, rate
from bench.upstream import Stats
from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.consumers import registry
from tests.support.messages import message

decode = registry.get("ingest-events").decode

WRK = """Running 5s test @ http://127.0.0.1:33709/api/1/envelope/
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   512.34us  301.22us   9.02ms   91.11%
    Req/Sec    56.77k     3.12k   61.05k    72.00%
  567642 requests in 5.00s, 83.91MB read
Requests/sec: 113528.62
Transfer/sec:     16.78MB
"""
ROLLUP = """5582e0a5f000-7ffd3a5fe000 ---p 00000000 00:00 0          [rollup]
Rss:               20000 kB
Pss:               11000 kB
Pss_Dirty:          9000 kB
Shared_Clean:      12000 kB
Private_Clean:      1000 kB
Private_Dirty:      7000 kB
"""


def test_the_rate_of_wrk_is_the_one_over_all_threads() -> None:
    assert parse_wrk(WRK) == 113528.62


def test_an_output_of_wrk_without_a_rate_is_an_error() -> None:
    with pytest.raises(ValueError, match="no rate"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused")


def test_a_program_name_with_spaces_and_parentheses_does_not_shift_the_fields() -> None:
    after_the_name = ["R", "41", *["0"] * 9, "150", "50", *["0"] * 30]
    stat = proc.parse_stat(f"42 (a) R (b c) {' '.join(after_the_name)}")
    assert stat.parent_pid == 41
    assert stat.cpu_s == 200 / os.sysconf("SC_CLK_TCK")


def test_memory_of_its_own_is_what_is_private() -> None:
    assert proc.parse_memory(ROLLUP) == proc.Memory(rss=20000, pss=11000, uss=8000)


def test_the_first_message_only_starts_the_clock() -> None:
    assert rate(Stats(accepted=3, refused=0, first_ns=10**9, last_ns=2 * 10**9)) == 2


def test_growth_is_from_the_first_sample_to_the_last() -> None:
    assert growth_percent([200, 500, 210]) == 5


def test_ratios_compare_runs_of_the_same_round() -> None:
    assert ratios([100, 60], [10, 20]) == [10, 3]


def test_a_goal_is_judged_by_the_median_of_its_rounds() -> None:
    assert at_least("rate", 1.1, [0.9, 1.2, 1.1]).is_met
    assert not at_least("rate", 1.1, [0.9, 1.09, 5]).is_met
    assert at_most("CPU", 16, [90, 15, 16], " µs").is_met
    assert not at_most("CPU", 16, [17, 15, 16.1], " µs").is_met


def test_a_goal_shows_the_spread_of_its_rounds() -> None:
    assert at_most("CPU", 16, [15, 14.25, 18.5], " µs").figure == "15 µs (14.2 to 18.5)"


def test_percentiles_are_those_of_all_messages() -> None:
    found = percentiles([float(number) for number in range(1, 102)])
    assert (found.p50, found.p99) == (51, 100)


def test_the_median_of_deliveries_is_read() -> None:
    printed = "socket    90,000 envelopes/s     8.7 µs CPU\nsocket median 8.9 µs CPU\n"
    assert parse_delivery(printed) == 8.9


def test_every_message_of_the_backlog_is_a_valid_event_of_the_promised_size() -> None:
    values = list(messages(50))
    assert all(1200 <= len(value) <= 1500 for value in values)
    for value in values:
        envelope = decode(message(value))
        assert isinstance(envelope, Envelope)
        assert orjson.loads(envelope.items[0].payload)["event_id"] == envelope.event_id
    assert len({msgpack.unpackb(value)["event_id"] for value in values}) == 50
