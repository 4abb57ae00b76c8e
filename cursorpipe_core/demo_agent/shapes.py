"""How agents show calls of MCP tools over ACP: what they announce, and how they ask for permission."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Json = dict[str, Any]

#: The options of a permission request: id, name, kind.
Options = tuple[tuple[str, str, str], ...]

CURSOR_OPTIONS: Options = (
    ("allow-once", "Allow once", "allow_once"),
    ("allow-always", "Allow always", "allow_always"),
    ("reject-once", "Reject", "reject_once"),
)
_OTHER_OPTIONS: Options = (
    ("proceed_always", "Always Allow", "allow_always"),
    ("proceed", "Allow", "allow_once"),
    ("cancel", "Reject", "reject_once"),
)


class Shown(NamedTuple):
    """A call as it is shown: by its id, and what is known of it."""

    id: str
    server: str
    tool: str
    arguments: Json


class Shape(NamedTuple):
    """An agent's way.

    ``announced`` and ``asked`` make the call of the announcement and of the permission request, both
    without the id; ``asked_meta`` goes with the request, ``id_meta`` names the call to the server.
    ``refused`` is the status of a call that was refused.
    """

    id: str
    announced: Callable[[Shown], Json]
    asked: Callable[[Shown], Json]
    options: Options = _OTHER_OPTIONS
    asked_meta: Json | None = None
    id_meta: str = ""
    refused: str = "failed"

    def new_id(self) -> str:
        """Return an id for a call; over one process they do not repeat."""
        return self.id.format(next(_numbers))

    def announcement(self, shown: Shown) -> Json:
        """Return the update that announces a call."""
        return {"sessionUpdate": "tool_call", "toolCallId": shown.id, **self.announced(shown)}

    def question(self, shown: Shown) -> Json:
        """Return the permission request for a call, all but the session."""
        meta = {} if self.asked_meta is None else {"_meta": self.asked_meta}
        return {
            "toolCall": {"toolCallId": shown.id, **self.asked(shown)},
            "options": permission_options(self.options),
            **meta,
        }

    def call_meta(self, call_id: str) -> Json:
        """Return what a call of the server says of the announcement."""
        return {self.id_meta: call_id} if self.id_meta else {}


def permission_options(options: Options) -> list[Json]:
    """Return options as a permission request has them."""
    return [{"optionId": option, "name": name, "kind": kind} for option, name, kind in options]


_numbers = itertools.count(1)


def _nameless(shown: Shown) -> Json:
    del shown
    return {"title": "MCP: tool", "kind": "other", "status": "pending", "rawInput": {}}


def _named(title: str) -> Callable[[Shown], Json]:
    """Return the maker of calls that have their name in the title, and their arguments."""

    def make(shown: Shown) -> Json:
        said = title.format(server=shown.server, tool=shown.tool)
        return {"title": said, "kind": "other", "status": "pending", "rawInput": shown.arguments}

    return make


def _codex(shown: Shown) -> Json:
    return {
        "title": f"mcp.{shown.server}.{shown.tool}",
        "kind": "execute",
        "status": "in_progress",
        "rawInput": {"server": shown.server, "tool": shown.tool, "arguments": shown.arguments},
        "_meta": {"is_mcp_tool_call": True},
    }


def _bare(shown: Shown) -> Json:
    del shown
    return {}


_CLAUDE = _named("mcp__{server}__{tool}")
_GEMINI = _named("{tool} ({server} MCP Server)")
_OPENCODE = _named("{server}_{tool}")

SHAPES: Mapping[str, Shape] = {
    # A rejected call ends like any other, and an id may have a line feed (CLI contract §4.4).
    "cursor": Shape(
        "call_mcp_{0}\nfc_mcp_{0}", _nameless, _nameless, options=CURSOR_OPTIONS, refused="completed"
    ),
    "claude": Shape("toolu_{0}", _CLAUDE, _CLAUDE, id_meta="claudecode/toolUseId"),
    "codex": Shape("call_{0}", _codex, _bare, asked_meta={"is_mcp_tool_approval": True}, id_meta="callId"),
    "copilot": Shape("call_{0}", _named("{server}-{tool}"), _named("{tool}")),
    "gemini": Shape("mcp-{0}", _GEMINI, _GEMINI),
    "opencode": Shape("call_{0}", _OPENCODE, _OPENCODE),
}
