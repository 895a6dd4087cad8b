"""Message formats, one file per consumer, and the registry of consumers."""
