"""An MCP server as the client of one session sees it: its tools, and calls of them."""

from __future__ import annotations

import contextlib
import itertools
import threading
from typing import Any, Protocol

from cursorpipe_core.demo_agent.habits import Habits
from cursorpipe_core.demo_agent.mcp_stdio import StdioTransport
from cursorpipe_core.demo_agent.mishaps import Mishaps
from cursorpipe_core.demo_agent.peer import METHOD_NOT_FOUND
from cursorpipe_core.demo_agent.pending import Pending
from cursorpipe_core.demo_agent.record import Record

Json = dict[str, Any]

_VERSION = "2025-11-25"
_NEXT_VERSION = "2026-07-28"
_CLIENT: Json = {
    "capabilities": {"roots": {"listChanged": False}},
    "clientInfo": {"name": "cursor-demo-agent", "version": "1.0.0"},
}

#: Seconds a server may take to introduce itself, or to list its tools.
_PATIENCE_S = 60.0


class McpError(Exception):
    """The server cannot be used; the text says why."""


class Transport(Protocol):
    """A way to a server."""

    version: str

    def send(self, message: Json) -> None:
        """Send a message; raises OSError."""

    def listen(self) -> None:
        """Hear what the server says unasked, too; raises OSError."""

    def drop(self, request_id: Any) -> None:
        """Break the connection of a request."""

    def close(self, *, delete: bool) -> None:
        """End all of it."""


class ToolServer:
    """A server of a session; ``tools`` are as it listed them last."""

    def __init__(
        self, session: str, definition: Json, cwd: str, *, habits: Habits, record: Record, mishaps: Mishaps
    ) -> None:
        self.name = str(definition.get("name"))
        self.tools: list[Json] = []
        self._session = session
        self._definition = definition
        self._cwd = cwd
        self._habits = habits
        self._record = record
        self._mishaps = mishaps
        self._ids = itertools.count()
        self._pending: dict[Any, Pending] = {}
        self._listing = threading.Lock()
        self._transport: Transport | None = None
        #: Whether calls can be made.
        self.connected = False

    def connect(self) -> None:
        """Connect and list the tools; a server that cannot be used is as if there were none."""
        try:
            transport = _open(self, self._definition, self._cwd, append_mcp=self._habits.append_mcp)
            self._transport = transport
            if self._habits.discover:
                transport.version = _NEXT_VERSION
                with contextlib.suppress(McpError):
                    self._ask(transport, "server/discover", _CLIENT)
                transport.version = ""
            agreed = self._ask(transport, "initialize", {"protocolVersion": _VERSION, **_CLIENT})
            transport.version = str(agreed.get("protocolVersion", _VERSION))
            transport.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
            transport.listen()
            self._note("mcp-connected", transport=_kind(self._definition))
            # Who sees in the record that the tools are listed may have one called at once.
            self.connected = True
            self._list(transport)
        except (OSError, McpError, LookupError, TypeError) as error:
            self.connected = False
            self._note("mcp-failed", error=str(error) or repr(error))

    def call(self, name: str, arguments: Json, meta: Json) -> Pending:
        """Begin to call a tool; the request is on its way when this returns."""
        pending = Pending(next(self._ids))
        meta = meta if self._habits.no_token else {**meta, "progressToken": pending.id}
        params = {"name": name, "arguments": arguments, **({"_meta": meta} if meta else {})}
        self._note("mcp-call", name=name, arguments=arguments, id=pending.id)
        if self._transport is None or not self.connected:
            pending.end(None, "there is no connection")
        else:
            signalled = self._mishaps.next_signal
            self._send(self._transport, pending, "tools/call", params)
            self._mishaps.threaten(pending, self._transport, signalled)
        return pending

    def leave(self, pending: Pending, how: str, reason: str) -> None:
        """Be done with a call, as ``how`` says: ``cancelled``, ``close`` or ``silence``."""
        self._pending.pop(pending.id, None)
        if how == "cancelled":
            self._note("mcp-cancelled", id=pending.id, reason=reason)
            params = {"requestId": pending.id, "reason": reason}
            self._say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        elif how == "close" and self._transport is not None:
            self._transport.drop(pending.id)

    def close(self) -> None:
        """Let go of the server."""
        if self._transport is not None:
            self._transport.close(delete=self._habits.delete)

    def take(self, message: Json) -> None:
        """Take a message of the server."""
        method, params = message.get("method"), message.get("params")
        if method is None:
            pending = self._pending.pop(message.get("id"), None)
            if pending is not None:
                pending.end(message)
        elif "id" in message:
            # Not here: whoever reads must not wait for the answer to its own answer.
            threading.Thread(target=self._answer, args=(message["id"], method), daemon=True).start()
        elif method == "notifications/progress" and isinstance(params, dict):
            pending = self._pending.get(params.get("progressToken"))
            if pending is not None:
                pending.hear()
        elif method == "notifications/tools/list_changed" and not self._habits.ignore_changes:
            threading.Thread(target=self._list_again, daemon=True).start()

    def lose(self, request_id: Any, reason: str) -> None:
        """Take note that a request will have no reply; without an id it is true of all."""
        lost = (
            list(self._pending) if request_id is None and _kind(self._definition) == "stdio" else [request_id]
        )
        for each in lost:
            pending = self._pending.pop(each, None)
            if pending is not None:
                self._note("mcp-lost", id=each, reason=reason)
                pending.end(None, reason)

    def _list(self, transport: Transport) -> None:
        with self._listing:
            tools: list[Json] = []
            params: Json = {}
            while True:
                page = self._ask(transport, "tools/list", params)
                tools += page["tools"]
                if not page.get("nextCursor"):
                    break
                params = {"cursor": page["nextCursor"]}
            self.tools = tools
            self._note("mcp-listed", names=[tool["name"] for tool in tools])

    def _list_again(self) -> None:
        if self._transport is not None:
            with contextlib.suppress(OSError, McpError, LookupError, TypeError):
                self._list(self._transport)

    def _ask(self, transport: Transport, method: str, params: Json) -> Json:
        pending = Pending(next(self._ids))
        self._send(transport, pending, method, params)
        if not pending.wait(_PATIENCE_S) or pending.reply is None:
            raise McpError(f"{method}: {pending.lost or 'no answer'}")
        result = pending.reply.get("result")
        if not isinstance(result, dict):
            raise McpError(f"{method}: {pending.reply.get('error')}")
        return result

    def _send(self, transport: Transport, pending: Pending, method: str, params: Json) -> None:
        self._pending[pending.id] = pending
        try:
            transport.send({"jsonrpc": "2.0", "id": pending.id, "method": method, "params": params})
        except OSError as error:
            self.lose(pending.id, str(error))

    def _answer(self, request_id: Any, method: str) -> None:
        refusal = {"code": METHOD_NOT_FOUND, "message": "Method not found"}
        reply: Json = {"result": {}} if method == "ping" else {"error": refusal}
        self._say({"jsonrpc": "2.0", "id": request_id, **reply})

    def _say(self, message: Json) -> None:
        if self._transport is not None:
            with contextlib.suppress(OSError):
                self._transport.send(message)

    def _note(self, event: str, **details: Any) -> None:
        self._record.add(event, session=self._session, server=self.name, **details)


def _kind(definition: Json) -> str:
    return str(definition.get("type") or "stdio")


def _open(server: ToolServer, definition: Json, cwd: str, *, append_mcp: bool) -> Transport:
    """Return a way to a server; raises OSError, McpError, or what comes of a definition that is none."""
    if _kind(definition) == "stdio":
        return StdioTransport(definition, cwd, server.take, server.lose)
    if _kind(definition) != "http":
        raise McpError(f"there is no transport {definition['type']!r}")
    # Here, because most processes never have a server and are to start quickly.
    from cursorpipe_core.demo_agent.mcp_http import HttpTransport  # noqa: PLC0415 (as said)

    url = str(definition["url"])
    if append_mcp and not url.endswith("/mcp"):
        url = f"{url.rstrip('/')}/mcp"
    headers = {pair["name"]: pair["value"] for pair in definition.get("headers") or ()}
    return HttpTransport(url, headers, server.take, server.lose)
