"""``python -m consumer_fleet``: the same as the command ``consumer``."""

from consumer_fleet.cli import main

# Worker processes import the main module again, under another name.
if __name__ == "__main__":
    main()
