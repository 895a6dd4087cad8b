"""The commands of ``consumer``, one file each; ``consumers.cli`` imports one when it is called."""
