"""Recordings of topics: what is recorded, what is left out, and what is taken out of it."""
