"""An MCP server that is a child process: one JSON object a line, both ways."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cursorpipe_core.demo_agent.output import encode_json, encode_line

Json = dict[str, Any]

#: All that such a server inherits; the rest has to be given to it.
_INHERITED = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")

#: Seconds that the end of a server's input may wait for what is still to be written to it.
_PATIENCE_S = 1.0


class StdioTransport:
    """Sends messages to a child, and hands on what comes back.

    ``take`` gets every message of the server; ``lose`` is told None when it is gone, with all requests.
    """

    def __init__(
        self, definition: Json, cwd: str, take: Callable[[Json], None], lose: Callable[[Any, str], None]
    ) -> None:
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment.update({pair["name"]: pair["value"] for pair in definition.get("env") or ()})
        self._child = subprocess.Popen(  # noqa: S603 (the client names its servers, as the CLI has it)
            [definition["command"], *(definition.get("args") or ())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=cwd if Path(cwd).is_dir() else None,
        )
        self._take = take
        self._lose = lose
        self._lock = threading.Lock()
        self.version = ""
        threading.Thread(target=self._receive, daemon=True).start()

    def send(self, message: Json) -> None:
        """Send a message; raises OSError if the server is gone."""
        line = encode_line(encode_json(message)) + b"\n"
        with self._lock:
            if self._child.stdin is None or self._child.stdin.closed:
                raise BrokenPipeError("the server is gone")
            self._child.stdin.write(line)
            self._child.stdin.flush()

    def listen(self) -> None:
        """Do nothing: what the server says unasked comes the same way as its replies."""

    def drop(self, request_id: Any) -> None:
        """Break the connection, which is the same for all requests."""
        del request_id
        self._child.kill()

    def close(self, *, delete: bool) -> None:
        """Let the server see the end of its input."""
        del delete
        # Somebody may hold the lock for as long as the child does not read.
        if self._lock.acquire(timeout=_PATIENCE_S):
            if self._child.stdin is not None:
                self._child.stdin.close()
            self._lock.release()

    def _receive(self) -> None:
        for line in self._child.stdout or ():
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict):
                self._take(message)
        self._child.wait()
        self._lose(None, "the server is gone")
