"""The MCP server that one session of an agent is offered, and which permission requests are about it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cursorpipe_core.endpoint import Address, Endpoint

#: What Cursor calls the use of any MCP tool, without a name (tools over MCP are of the kind `other`).
_ANONYMOUS_TITLE = "MCP"
_TOOL = r"[A-Za-z0-9_-]+"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a session is to be offered: the tools at ``endpoint``, which the agent reaches by ``address``.

    ``approve``: put it on Cursor's list of what may be used. ``by_file``: let the agent find it in a file.
    """

    endpoint: Endpoint
    address: Address
    approve: bool = False
    by_file: bool = False


class Grant:
    """Which permission requests of a session are about the server that it was offered.

    ``alone``: no other server can be in the session, so a use of a tool that names none is of ours.
    """

    def __init__(self, offer: Offer, *, alone: bool) -> None:
        #: What the session is to be told of (ACP v1, session-setup).
        self.servers = [] if offer.by_file else [offer.address.server]
        self._endpoint = offer.endpoint
        self._alone = alone
        server = re.escape(offer.address.name)
        # The whole title, in the forms that agents give it: a model knows the server's name, and may put
        # it into a command that it wants to be allowed.
        self._titles = [
            re.compile(rf"(?:mcp[._]{{1,2}})?{server}(?:__|[._:/-])(?P<tool>{_TOOL})"),
            re.compile(rf"(?P<tool>{_TOOL}) \({server} MCP Server\)"),
        ]
        self._announced: set[str] = set()

    def announce(self, tool_call: Mapping[str, Any]) -> None:
        """Remember a use of a tool of ours: a permission request may only name its id."""
        call_id = tool_call.get("toolCallId")
        if not isinstance(call_id, str):
            return
        if self._names(tool_call):
            self._announced.add(call_id)
        elif tool_call.get("sessionUpdate") == "tool_call":
            # Some agents begin to number anew in each turn: the id is another tool's now.
            self._announced.discard(call_id)

    def covers(self, params: Mapping[str, Any]) -> bool:
        """Whether a permission request (ACP v1, tool-calls) is about a tool of ours.

        By its title, now or when it was announced. Cursor names neither server nor tool (CLI contract §4.7).
        """
        asked = params.get("toolCall")
        asked = asked if isinstance(asked, dict) else {}
        call_id = asked.get("toolCallId")
        if (isinstance(call_id, str) and call_id in self._announced) or self._names(asked):
            return True
        if not (self._alone and self._endpoint.listed.is_set()):
            return False
        metas = (params.get("_meta"), asked.get("_meta"))
        if any(isinstance(meta, dict) and meta.get("is_mcp_tool_approval") is True for meta in metas):
            return True
        title = str(asked.get("title") or "")
        return asked.get("kind") == "other" and title.partition(":")[0] == _ANONYMOUS_TITLE

    def _names(self, tool_call: Mapping[str, Any]) -> bool:
        title = str(tool_call.get("title") or "")
        found = next((match for form in self._titles if (match := form.fullmatch(title))), None)
        return found is not None and self._endpoint.tools.find(found["tool"]) is not None


def has_servers(directory: str) -> bool:
    """Whether a directory of Cursor's configures MCP servers, or may for all one can read. Blocks."""
    try:
        configured = json.loads(Path(directory, "mcp.json").read_bytes())
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    servers = configured.get("mcpServers") if isinstance(configured, dict) else None
    return bool(servers)
