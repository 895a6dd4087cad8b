"""``consumer status``: the state of every consumer of a cluster."""
