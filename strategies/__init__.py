"""The Arroyo steps that a message passes in the parent process, one per file."""
