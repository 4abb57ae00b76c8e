"""The MCP servers that the sessions of this process were given, and the tools in them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, NamedTuple

from cursorpipe_core.demo_agent.approvals import is_approved
from cursorpipe_core.demo_agent.habits import Habits
from cursorpipe_core.demo_agent.mishaps import Mishaps
from cursorpipe_core.demo_agent.peer import INTERNAL_ERROR, RpcError
from cursorpipe_core.demo_agent.process import Process
from cursorpipe_core.demo_agent.tool_server import ToolServer

Json = dict[str, Any]

#: Seconds between two looks at whether a turn that waits for its servers was cancelled.
_STEP_S = 0.02


class Offer(NamedTuple):
    """A tool, and the server that has it."""

    server: ToolServer
    tool: Json

    @property
    def reads_only(self) -> bool:
        """Whether the tool says that it changes nothing."""
        annotations = self.tool.get("annotations")
        return isinstance(annotations, dict) and annotations.get("readOnlyHint") is True


class Toolbox:
    """The servers of one session; ``shelf`` holds the toolboxes whose tools the session sees."""

    def __init__(self, servers: list[ToolServer], habits: Habits, shelf: list[Toolbox]) -> None:
        self.servers = servers
        self.habits = habits
        self._shelf = shelf
        self._connecting: list[threading.Thread] = []
        shelf.append(self)

    def open(self) -> None:
        """Do what is done with servers when a session is opened; raises RpcError."""
        if self.habits.connect in {"new", "background"}:
            self._connect()
        if self.habits.connect == "new":
            self._wait()
        if self.habits.fail_new and not all(server.connected for server in self.servers):
            raise RpcError(INTERNAL_ERROR, {"details": "Failed to connect to an MCP server"})

    def get_ready(self, cancelled: threading.Event) -> None:
        """Do what is done with servers before a turn, unless that is cancelled meanwhile."""
        if self.habits.connect == "prompt" and not self._connecting:
            self._connect()
        if self.habits.connect in {"prompt", "background"}:
            self._wait(cancelled)

    def offers(self) -> list[Offer]:
        """Return the tools that the model has at this moment."""
        return [
            Offer(server, tool)
            for box in reversed(self._shelf)
            for server in box.servers
            for tool in list(server.tools)
        ]

    def close(self) -> None:
        """Let go of the servers."""
        for server in self.servers:
            server.close()
        self._shelf.remove(self)

    def _connect(self) -> None:
        self._connecting = [threading.Thread(target=server.connect, daemon=True) for server in self.servers]
        for thread in self._connecting:
            thread.start()

    def _wait(self, cancelled: threading.Event | None = None) -> None:
        if self.habits.no_wait:
            return
        for thread in self._connecting:
            while thread.is_alive() and not (cancelled and cancelled.is_set()):
                # In short steps: a thread and an event cannot be waited for at once.
                thread.join(_STEP_S)


class Toolshed:
    """The toolboxes of all sessions of the process."""

    def __init__(self, habits: Habits, process: Process, config: Path) -> None:
        self._habits = habits
        self._process = process
        self._config = config
        self._mishaps = Mishaps(habits, process)
        self._shelves: dict[str, list[Toolbox]] = {}
        self._boxes: dict[str, Toolbox] = {}

    def open(self, session: str, cwd: str, definitions: list[Any]) -> Toolbox:
        """Open the toolbox of a session, in place of the one that it may have; raises RpcError."""
        servers = [
            ToolServer(
                session,
                definition,
                cwd,
                habits=self._habits,
                record=self._process.record,
                mishaps=self._mishaps,
            )
            for definition in definitions
            if isinstance(definition, dict) and self._is_honoured(session, cwd, definition)
        ]
        shelf = self._shelves.setdefault(cwd, []) if self._habits.share_directory else []
        previous = self._boxes.get(session)
        box = self._boxes[session] = Toolbox(servers, self._habits, shelf)
        if previous is not None:
            previous.close()
        box.open()
        return box

    def close(self) -> None:
        """Let go of all servers."""
        for box in list(self._boxes.values()):
            box.close()

    def _is_honoured(self, session: str, cwd: str, definition: Json) -> bool:
        kind = "http" if "url" in definition else "stdio"
        of_file = definition.get("of_file") is True
        wanted = {"both", "http", "stdio", "file"} if of_file else {"both", kind}
        if self._habits.connect == "never" or self._habits.transport not in wanted:
            return False
        # What a directory brings with it is never used unasked.
        if (self._habits.gate or of_file) and not is_approved(self._config, cwd, definition):
            self._process.record.add("mcp-unapproved", session=session, server=definition.get("name"))
            return False
        return True
