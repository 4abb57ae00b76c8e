"""The gate that a server of a session has to pass in Cursor: a list of fingerprints on disk.

``<configuration directory>/projects/<slug>/mcp-approvals.json`` is a list of ``<name>-<16 hex digits>``; the
digits begin the SHA-256 of ``{"path": cwd, "server": server}`` as JavaScript writes it. The server stands
there as in ``mcp.json``: a URL, or a command with its arguments and environment.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from cursorpipe_core.demo_agent.output import encode_json, encode_line

_NOT_ALPHANUMERIC = re.compile(r"[^A-Za-z0-9]+")


def is_approved(config: Path, cwd: str, definition: dict[str, Any]) -> bool:
    """Whether somebody has vouched for exactly this server in this directory."""
    return fingerprint(str(Path(cwd).resolve()), definition) in _approved(_list(config, cwd))


def enable(config: Path, cwd: str, name: str) -> bool:
    """Approve the server of this name that the directory has; False: it has none."""
    definition = next((server for server in servers_of(cwd) if server["name"] == name), None)
    if definition is None:
        return False
    path = _list(config, cwd)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*_approved(path), fingerprint(str(Path(cwd).resolve()), definition)]))
    return True


def servers_of(cwd: str) -> list[dict[str, Any]]:
    """Return the servers of ``.cursor/mcp.json`` in a directory, as session/new would name them."""
    try:
        servers = json.loads((Path(cwd) / ".cursor" / "mcp.json").read_bytes())["mcpServers"]
        return [_as_named(name, server) for name, server in servers.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _as_named(name: str, server: dict[str, Any]) -> dict[str, Any]:
    pairs = {
        key: [{"name": each, "value": value} for each, value in server.get(key, {}).items()]
        for key in ("headers", "env")
    }
    kind = {"type": "http", "headers": pairs["headers"]} if "url" in server else {"env": pairs["env"]}
    return {**server, "name": name, **kind, "of_file": True}


def _list(config: Path, cwd: str) -> Path:
    slug = _NOT_ALPHANUMERIC.sub("-", str(Path(cwd).resolve())).strip("-")
    return config / "projects" / slug / "mcp-approvals.json"


def _approved(path: Path) -> list[Any]:
    try:
        approved = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return []
    return approved if isinstance(approved, list) else []


def fingerprint(cwd: str, definition: dict[str, Any]) -> str:
    """Return the entry that approves a server, as session/new names it, in a directory."""
    if "command" in definition:
        environment = {pair["name"]: pair["value"] for pair in definition.get("env") or ()}
        server = {"command": definition["command"], "args": definition.get("args") or [], "env": environment}
    else:
        server = {"url": definition["url"]}
    text = encode_json({"path": cwd, "server": server})
    return f"{definition['name']}-{hashlib.sha256(encode_line(text)).hexdigest()[:16]}"
