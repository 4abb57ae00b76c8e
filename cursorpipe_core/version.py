"""The version of cursorpipe."""

__version__ = "0.1.0"
