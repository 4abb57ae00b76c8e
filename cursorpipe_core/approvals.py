"""The approvals that Cursor wants to see before it uses an MCP server of a session (tools, section 4).

They are fingerprints in a list in the configuration directory, one list for each work directory. Only a
directory that this server has made for one agent is ever written to: what a user has not approved stays so.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cursorpipe_core.endpoint import Address

#: Entries of one list that are kept: those of sessions that are over are of no use.
MAX_ENTRIES = 256

_writing = threading.Lock()
_NOT_ALPHANUMERIC = re.compile(r"[^A-Za-z0-9]+")


def approve(config: str, cwd: str, address: Address) -> None:
    """Put a server on the list of what may be used in ``cwd``; raises OSError. Blocks."""
    real = str(Path(cwd).resolve())
    slug = _NOT_ALPHANUMERIC.sub("-", real).strip("-")
    listed = Path(config, "projects", slug, "mcp-approvals.json")
    # In a workspace several sessions share one list.
    with _writing:
        listed.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        entries = [*_entries(listed), *_fingerprints(real, address)]
        listed.write_text(json.dumps(entries[-MAX_ENTRIES:]), encoding="utf-8")


def _entries(listed: Path) -> list[str]:
    try:
        entries = json.loads(listed.read_bytes())
    except (OSError, ValueError):
        return []
    return entries if isinstance(entries, list) else []


def _fingerprints(cwd: str, address: Address) -> Iterator[str]:
    for server in _as_written(address.server):
        text = json.dumps({"path": cwd, "server": server}, ensure_ascii=False, separators=(",", ":"))
        yield f"{address.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _as_written(server: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a server as `mcp.json` would have it, in every form that may be what is counted."""
    if "command" in server:
        yield {"command": server["command"], "args": server["args"], "env": _by_name(server["env"])}
    else:
        yield {"url": server["url"]}
        yield {"url": server["url"], "headers": _by_name(server["headers"])}


def _by_name(pairs: list[Mapping[str, str]]) -> Mapping[str, str]:
    return {pair["name"]: pair["value"] for pair in pairs}
