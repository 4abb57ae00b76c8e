"""The HTTP side of cursorpipe: OpenAI's chat completions in front of the core."""
