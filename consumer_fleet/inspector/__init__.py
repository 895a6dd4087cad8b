"""A receiver of envelopes that keeps what it accepted, to look at."""
