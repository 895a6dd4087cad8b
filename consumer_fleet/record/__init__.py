"""``consumer record``: reads a range of a topic, filters it, scrubs it, and writes it to a file."""
