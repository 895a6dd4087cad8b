"""Replaying recordings and topics: to a topic, or through a consumer."""
