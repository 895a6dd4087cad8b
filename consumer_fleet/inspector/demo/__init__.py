"""Synthetic events for ``consumer inspect --demo``: what the page can show, without a Kafka."""

from consumer_fleet.inspector.demo.entries import REPORT, demo_feed

__all__ = ["REPORT", "demo_feed"]
