"""Figures of processes from /proc."""

from __future__ import annotations

import os

from bench import proc

ROLLUP = """5582e0a5f000-7ffd3a5fe000 ---p 00000000 00:00 0          [rollup]
Rss:               20000 kB
Pss:               11000 kB
Pss_Dirty:          9000 kB
Shared_Clean:      12000 kB
Private_Clean:      1000 kB
Private_Dirty:      7000 kB
"""


def test_a_program_name_with_spaces_and_parentheses_does_not_shift_the_fields() -> None:
    after_the_name = ["R", "41", *["0"] * 9, "150", "50", *["0"] * 30]
    stat = proc.parse_stat(f"42 (a) R (b c) {' '.join(after_the_name)}")
    assert stat.parent_pid == 41
    assert stat.cpu_s == 200 / os.sysconf("SC_CLK_TCK")


def test_memory_of_its_own_is_what_is_private() -> None:
    assert proc.parse_memory(ROLLUP) == proc.Memory(rss=20000, pss=11000, uss=8000)
