"""What runs: the command line, the registry, and one file per consumer."""
