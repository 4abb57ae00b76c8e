"""A stand-in for the Cursor Agent CLI: same command line, texts, exit codes and wire; faults by name.

``python -m cursorpipe_core.demo_agent …`` is started wherever ``agent …`` would be. It answers without a
network or an account, and it can be told to misbehave (see ``scenarios``). It imports nothing of the
core, and nothing of the core imports it: it is a program, reached by its command line.
"""
