"""``consumer tail``: one line per message as it passes, and what became of it."""
