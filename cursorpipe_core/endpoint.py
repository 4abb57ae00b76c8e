"""The MCP server that one session of an agent is offered: its tools, and the calls that wait for results.

Sources: MCP 2025-06-18 (lifecycle, tools, progress, cancellation), and what was measured of agents. It
knows no transport: whoever has one passes messages in by ``take`` and sends what comes back.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from cursorpipe_core.completion import ToolResult
from cursorpipe_core.tools import Tool, ToolSet
from cursorpipe_core.version import __version__

Json = dict[str, Any]

#: The versions of MCP in which a server that has tools and no more says the same; the last is the newest.
VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
#: Seconds between two notices that a call is still worked on: without them agents give up after 60.
PROGRESS_S = 10.0
#: Calls that may be open at the same time.
MAX_OPEN_CALLS = 256

INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
_CANCELLED = -32800


class Transport(StrEnum):
    """How an agent reaches an MCP server."""

    HTTP = "http"
    STDIO = "stdio"


@dataclass(frozen=True, slots=True)
class Address:
    """Where an agent finds a server: ``server`` is an entry of `session/new`'s `mcpServers`, by this name."""

    name: str
    transport: Transport
    server: Mapping[str, Any]


class ToolBridge(Protocol):
    """What makes an endpoint reachable for agents."""

    async def open(self, endpoint: Endpoint, transport: Transport) -> Address:
        """Make it reachable until ``close``; nobody but the agent who is told the address can reach it."""

    def close(self, endpoint: Endpoint) -> None:
        """Make it unreachable. Idempotent."""


class OpenCall:
    """A call of a tool that waits for its result. The first answer counts."""

    def __init__(
        self, tool: Tool, arguments: Mapping[str, Any], request_id: Any, meta: Mapping[str, Any]
    ) -> None:
        self.tool = tool
        self.arguments = arguments
        self._request_id = request_id
        self._progress_token = meta.get("progressToken")
        self._response: asyncio.Future[Json] = asyncio.get_running_loop().create_future()

    @property
    def answered(self) -> bool:
        """Whether there is an answer."""
        return self._response.done()

    def answer(self, result: ToolResult) -> None:
        """Give the result."""
        content: list[Json] = [{"type": "text", "text": result.text}]
        content += [
            {"type": "image", "mimeType": image.mime, "data": base64.b64encode(image.data).decode()}
            for image in result.images
        ]
        self._respond({"result": {"content": content, "isError": False}})

    def reject(self, text: str) -> None:
        """Say that the tool could not be used, and why, to the model."""
        self._respond({"result": {"content": [{"type": "text", "text": text}], "isError": True}})

    def give_up(self, reason: str) -> None:
        """Say that there will be no result."""
        self._respond(_error(_CANCELLED, reason))

    async def messages(self) -> AsyncIterator[Json | None]:
        """Yield what the agent is sent of the call: notices that it goes on, at last the response.

        None stands for a notice that has no form, for an agent that wants none.
        """
        progress = 0
        while True:
            done, _ = await asyncio.wait((self._response,), timeout=PROGRESS_S)
            if done:
                yield {"jsonrpc": "2.0", "id": self._request_id, **self._response.result()}
                return
            progress += 1
            yield self._progress(progress)

    def _progress(self, progress: int) -> Json | None:
        if self._progress_token is None:
            return None
        params = {
            "progressToken": self._progress_token,
            "progress": progress,
            "message": "The tool is in use.",
        }
        return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}

    def _respond(self, response: Json) -> None:
        if not self._response.done():
            self._response.set_result(response)


class Endpoint:
    """An MCP server with the tools of one session, and with the calls that its agent has open.

    ``on_call`` gets each call of one of the tools; ``on_lost`` a call whose agent waits for it no more,
    though nobody has answered it.
    """

    def __init__(self, tools: ToolSet) -> None:
        self.tools = tools
        self._list = tools.offered()
        #: Set while the agent knows the tools as they are.
        self.listed = asyncio.Event()
        self.on_call: Callable[[OpenCall], None] = _refuse
        self.on_lost: Callable[[OpenCall], None] = _ignore
        self._closed = False
        self._calls: dict[tuple[str, Any], OpenCall] = {}
        self._listeners: set[Callable[[Json | None], None]] = set()

    @property
    def open_calls(self) -> int:
        """How many calls wait for an answer."""
        return sum(not call.answered for call in self._calls.values())

    def offer(self, tools: ToolSet) -> None:
        """Have other tools from now on, and tell the agent; ``listed`` says when it has asked for them."""
        self.tools, self._list = tools, tools.offered()
        self.listed.clear()
        for hear in list(self._listeners):
            hear({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})

    def listen(self, hear: Callable[[Json | None], None]) -> Callable[[], None]:
        """Have ``hear`` called with what is told unasked, None at the end; returns what takes that back."""
        if self._closed:
            hear(None)
        self._listeners.add(hear)
        return lambda: self._listeners.discard(hear)

    def take(self, message: Any, peer: str) -> Json | OpenCall | None:
        """Take a message of the agent's, from one of its connections; returns what it is answered.

        An OpenCall is answered later, by what its ``messages`` yields, and None is no answer.
        """
        if not isinstance(message, dict):
            return _reply(None, _error(INVALID_REQUEST, "A message is one JSON object."))
        method, request_id = message.get("method"), message.get("id")
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        if request_id is None or not isinstance(method, str):
            if method == "notifications/cancelled":
                self._cancel(peer, params.get("requestId"))
            return None
        if isinstance(request_id, bool) or not isinstance(request_id, str | int):
            return _reply(None, _error(INVALID_REQUEST, "An id is a string or a number."))
        if method == "tools/call":
            called = self._call(peer, request_id, params)
            return called if isinstance(called, OpenCall) else _reply(request_id, called)
        return _reply(request_id, self._answer(method, params))

    def sent(self, answer: Json) -> None:
        """Take note that an answer of ``take`` is with the agent now."""
        # The very list: while an older one was on its way, other tools may have been offered.
        if answer.get("result", {}).get("tools") is self._list:
            self.listed.set()

    def lose(self, call: OpenCall) -> None:
        """Take note that the agent can be told nothing more of a call."""
        self.forget(call)
        if not call.answered:
            call.give_up("The connection was lost.")
            self.on_lost(call)

    def lose_peer(self, peer: str) -> None:
        """Take note that one of the agent's connections is over."""
        for key, call in list(self._calls.items()):
            if key[0] == peer:
                self.lose(call)

    def forget(self, call: OpenCall) -> None:
        """Take note that a call is over: the agent has its answer."""
        for key, open_call in list(self._calls.items()):
            if open_call is call:
                del self._calls[key]

    def take_no_calls(self) -> None:
        """Refuse every call from now on."""
        self.on_call, self.on_lost = _refuse, _ignore

    def close(self, reason: str) -> None:
        """End every call and every stream; no call is taken any more. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.take_no_calls()
        for call in list(self._calls.values()):
            call.give_up(reason)
        for hear in list(self._listeners):
            hear(None)

    def _answer(self, method: str, params: Mapping[str, Any]) -> Json:
        if method == "initialize":
            asked = params.get("protocolVersion")
            return {
                "result": {
                    "protocolVersion": asked if asked in VERSIONS else VERSIONS[-1],
                    "capabilities": {"tools": {"listChanged": True}},
                    "serverInfo": {"name": "cursorpipe", "version": __version__},
                }
            }
        if method == "tools/list":
            return {"result": {"tools": self._list}}
        if method == "ping":
            return {"result": {}}
        return _error(METHOD_NOT_FOUND, f"There is no method '{method[:100]}'.")

    def _call(self, peer: str, request_id: str | int, params: Mapping[str, Any]) -> OpenCall | Json:
        name, arguments, meta = params.get("name"), params.get("arguments"), params.get("_meta")
        tool = self.tools.find(name) if isinstance(name, str) else None
        if tool is None:
            return _error(INVALID_PARAMS, f"There is no tool '{str(name)[:100]}'.")
        if not (arguments is None or (isinstance(arguments, dict) and _is_json(arguments))):
            return _error(INVALID_PARAMS, "The arguments are not a JSON object.")
        if (peer, request_id) in self._calls or len(self._calls) >= MAX_OPEN_CALLS:
            return _error(INVALID_REQUEST, "The id is in use, or too many calls are open.")
        call = OpenCall(tool, arguments or {}, request_id, meta if isinstance(meta, dict) else {})
        self._calls[peer, request_id] = call
        self.on_call(call)
        return call

    def _cancel(self, peer: str, request_id: Any) -> None:
        # Some agents cancel what was answered long ago.
        if isinstance(request_id, str | int) and (call := self._calls.get((peer, request_id))) is not None:
            self.lose(call)


def _refuse(call: OpenCall) -> None:
    call.reject("The tool cannot be used now.")


def _ignore(call: OpenCall) -> None:
    """Stand in for whoever has begun no turn."""


def _is_json(value: Any) -> bool:
    # What reads the messages takes NaN and numbers without end for numbers; callers' libraries do not.
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return True


def _reply(request_id: str | int | None, response: Json) -> Json:
    return {"jsonrpc": "2.0", "id": request_id, **response}


def _error(code: int, message: str) -> Json:
    return {"error": {"code": code, "message": message}}
