"""Worker processes: what runs in one, how the parent talks to it, and who supervises it."""
