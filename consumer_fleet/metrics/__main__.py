"""``python -m consumer_fleet.metrics`` writes docs/metrics.md to standard output."""

from __future__ import annotations

import sys

from consumer_fleet.metrics.definitions import DEFINITIONS, reference_page

sys.stdout.write(reference_page(DEFINITIONS))
