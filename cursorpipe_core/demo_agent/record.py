"""The record of what happened to this process, one JSON object per line, for those who wait on it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

#: What is kept of each string: enough to recognise a prompt, little enough for a 10 MB one.
MAX_TEXT = 2000


class Record:
    """Appends events to a file that several processes share; without a file it does nothing.

    Events, each with ``event`` and ``pid``:

    start       ppid, argv, cwd, config_dir, env (sorted names of the environment), mode
    received    id, method, session, params (strings cut to 2,000 characters): an ACP message came in
    answered    id, method, result or error: an answer to a request of the agent's own
    prompt      session, scenario, model, mode, text: a turn begins
    finished    session, stop: a turn has ended, and the client is told next
    cancelled   session: a turn was told to stop
    mcp-connected   session, server, transport: an MCP server of the session's has introduced itself
    mcp-failed      session, server, error: it cannot be used
    mcp-unapproved  session, server: it did not pass the gate
    mcp-listed      session, server, names: it has listed its tools
    mcp-offered     session, names: what the model has at the beginning of a turn
    mcp-call        session, server, id, name, arguments: a tool is called now
    mcp-rejected    session, name: the client does not permit a call
    mcp-lost        session, server, id, reason: a request will have no reply
    mcp-cancelled   session, server, id, reason: the server is told that nobody waits
    mcp-result      session, server, name, text, isError, seconds: what the model is told of a call
    grandchild  grandchild: the process id of what this process leaves behind
    exit        status, or signal: the last event of every end the process chooses itself
    """

    def __init__(self, path: Path | None) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._file = os.open(path, flags, 0o600) if path else None

    def add(self, event: str, **details: Any) -> None:
        """Append one event, in one write, so that lines of several processes never mix."""
        if self._file is None:
            return
        entry = {"event": event, "pid": os.getpid(), **{key: _cut(value) for key, value in details.items()}}
        os.write(self._file, json.dumps(entry).encode() + b"\n")


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut(item) for item in value]
    return value
