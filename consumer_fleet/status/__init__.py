"""What every consumer of a cluster is doing, as ``consumer status`` shows it."""
