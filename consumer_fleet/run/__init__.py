"""``consumer run``, and the one run that it shares with replays and with tests."""
