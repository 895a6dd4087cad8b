"""Showing and moving the offsets of consumer groups."""
