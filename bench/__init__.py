"""Measurements against a real Kafka and a local upstream: ``make bench``. Not part of the wheel."""
