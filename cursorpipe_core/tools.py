"""The tools of a caller's that an agent may call: as the caller names them, and as the agent sees them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cursorpipe_core.errors import InvalidRequestError

#: Bytes of one tool's schema, and of all that a request tells of its tools.
MAX_SCHEMA = 64 * 1024
MAX_DEFINITIONS = 1024 * 1024
#: Characters of a description that every agent passes on; the rest goes into the prompt.
MAX_DESCRIPTION = 2000
#: Characters of what a tool is for in the list of the prompt.
MAX_PURPOSE = 120

#: Names that reach the model whole behind an agent's prefix: some cut at 64 characters, in the middle.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_ALIAS_STEM = 24
#: Tools that agents have themselves, in small letters without what separates words: a namesake of the
#: caller's would be taken for one of them.
_BUILT_IN = frozenset(
    {
        *("bash", "shell", "terminal", "execute", "runterminalcmd", "runcommand", "runshellcommand"),
        *("read", "readfile", "readmanyfiles", "view", "write", "writefile", "edit", "editfile", "multiedit"),
        *("applypatch", "patch", "delete", "deletefile", "replace", "strreplace", "create", "createfile"),
        *("ls", "list", "listdir", "listdirectory", "glob", "grep", "search", "searchfiles", "ripgrep"),
        *(
            "codebasesearch",
            "filesearch",
            "semsearch",
            "findfiles",
            "toolsearch",
            "readlints",
            "notebookedit",
        ),
        *("webfetch", "fetch", "websearch", "task", "agent", "skill", "todo", "todoread", "todowrite"),
        *("updatetodos", "updateplan", "savememory", "askquestion", "createplan", "mcp", "getmcptools"),
        *("runtypescript", "searchtoolfunctions", "switchmode", "think"),
    }
)
_SEPARATOR = re.compile(r"[_-]")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]")

#: An argument that one agent adds to every tool for itself.
_FOREIGN_ARGUMENT = "wait_for_previous"
#: What an agent is told that calls tools whose caller runs them: nothing happens on the agent's machine,
#: so it need not ask, and may call several at once.
_ANNOTATIONS = {"readOnlyHint": True}


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as its caller describes it; ``schema`` (JSON Schema) is what its arguments are, None: anything.

    ``strict``: the caller relies on it that they are.
    """

    name: str
    description: str = ""
    schema: Mapping[str, Any] | None = None
    strict: bool = False


class ToolSet:
    """The tools of one request, in the caller's order, under names that reach every model whole.

    Raises InvalidRequestError for definitions beyond the bounds.
    """

    def __init__(self, tools: Sequence[Tool] = ()) -> None:
        self.tools = tuple(tools)
        told = []
        for tool in self.tools:
            size = len(_json(tool.schema))
            if size > MAX_SCHEMA:
                raise _too_large(f"the schema of '{tool.name}' has {size} bytes", MAX_SCHEMA)
            told.append([tool.name, tool.description, tool.schema, tool.strict])
        definition = _json(told, sort_keys=True)
        if len(definition) > MAX_DEFINITIONS:
            raise _too_large(f"the definitions have {len(definition)} bytes", MAX_DEFINITIONS)
        #: The same for the same tools: programs write the members of a schema in any order.
        self.digest = hashlib.sha256(definition).hexdigest()

    def __len__(self) -> int:
        return len(self.tools)

    def offered(self) -> list[dict[str, Any]]:
        """Return the tools as an MCP server lists them (MCP 2025-06-18, server/tools)."""
        return [
            {
                "name": name,
                "description": tool.description[:MAX_DESCRIPTION],
                "inputSchema": _object_schema(tool.schema),
                "annotations": _ANNOTATIONS,
            }
            for name, tool in self._exposed.items()
        ]

    def find(self, name: str) -> Tool | None:
        """Return the tool that an agent calls by this name."""
        return self._exposed.get(name)

    def told(self) -> str:
        """Return what the prompt says of the tools: some agents keep them from the model until it asks."""
        lines = ["The user offers you these tools, over MCP:"]
        for name, tool in self._exposed.items():
            purpose = tool.description.strip().partition("\n")[0][:MAX_PURPOSE]
            lines.append(f"- {name}: {purpose}" if purpose else f"- {name}")
        for name, tool in self._exposed.items():
            if rest := tool.description[MAX_DESCRIPTION:]:
                lines.append(f"\nThe description of {name} goes on: {rest}")
        return "\n".join(lines)

    @cached_property
    def _exposed(self) -> Mapping[str, Tool]:
        return dict(_named(self.tools))


def canonical_arguments(tool: Tool, arguments: Mapping[str, Any]) -> str:
    """Return the arguments of a call as JSON, without what agents add to them for themselves."""
    return _json(own_arguments(tool, arguments)).decode()


def own_arguments(tool: Tool, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments of a call without what agents add to them for themselves."""
    declared = (tool.schema or {}).get("properties")
    if _FOREIGN_ARGUMENT not in arguments or (
        isinstance(declared, Mapping) and _FOREIGN_ARGUMENT in declared
    ):
        return arguments
    return {name: value for name, value in arguments.items() if name != _FOREIGN_ARGUMENT}


def _named(tools: Sequence[Tool]) -> Iterator[tuple[str, Tool]]:
    """Yield every tool with its name for the agent: its own, or an alias that is always the same."""
    seen: set[str] = set()
    # What an alias must not be: the name of any tool, earlier or later, or another alias.
    taken = {_folded(tool.name) for tool in tools}
    for tool in tools:
        key = _folded(tool.name)
        plain = _PLAIN_NAME.fullmatch(tool.name) and _SEPARATOR.sub("", key) not in _BUILT_IN
        if plain and key not in seen:
            seen.add(key)
            yield tool.name, tool
        else:
            alias = _alias(tool.name)
            while _folded(alias) in taken:
                alias = _alias(alias)
            taken.add(_folded(alias))
            yield alias, tool


def _folded(name: str) -> str:
    """Return what agents that take names for the same one may make of it."""
    return name.replace("-", "_").casefold()


def _alias(name: str) -> str:
    stem = _NOT_IN_A_NAME.sub("_", name)[:_ALIAS_STEM]
    return f"{stem}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _object_schema(schema: Mapping[str, Any] | None) -> Mapping[str, Any]:
    # MCP wants an object's schema, whose type OpenAI's callers may leave out.
    return {"type": "object", "properties": {}, **(schema or {})}


def _json(value: object, *, sort_keys: bool = False) -> bytes:
    # The library of the standard, for integers of any size; escapes keep halves of surrogate pairs whole.
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), sort_keys=sort_keys).encode()


def _too_large(what: str, most: int) -> InvalidRequestError:
    return InvalidRequestError(f"Invalid value for 'tools': {what}; {most} are allowed.", param="tools")
