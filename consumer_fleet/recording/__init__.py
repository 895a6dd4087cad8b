"""Recordings: messages of a topic in a file, whole."""
