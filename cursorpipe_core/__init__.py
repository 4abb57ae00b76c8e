"""The agent side of cursorpipe: drives the Cursor Agent CLI and knows nothing of HTTP."""

__version__ = "0.1.0"
