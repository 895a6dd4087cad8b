"""Boot: options from their sources, then ``initialize_app`` in a fixed order, once per process.

``configure`` (configure.py) is the only entry. Nothing here reads the environment, opens a file or
sets anything up when it is imported.
"""
