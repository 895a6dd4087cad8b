"""``consumer doctor``: checks of everything that a consumer needs.

Collectors (``*_probe.py``, ``*_facts.py``) ask the outside world and judge nothing; checks
(``*_checks.py``) make findings of what they were told. All of it only reads: no topic is created,
no group joined, no offset committed.
"""
