"""``consumer dlq``: list, show, replay, export and purge dead letters."""
