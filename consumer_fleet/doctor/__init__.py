"""``consumer doctor``: checks of everything that a consumer needs.

All of it only reads: no topic is created, no group joined, no offset committed.
"""
