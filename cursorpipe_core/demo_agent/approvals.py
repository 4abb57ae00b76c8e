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
    real = str(Path(cwd).resolve())
    slug = _NOT_ALPHANUMERIC.sub("-", real).strip("-")
    try:
        approved = json.loads((config / "projects" / slug / "mcp-approvals.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(approved, list) and fingerprint(real, definition) in approved


def fingerprint(cwd: str, definition: dict[str, Any]) -> str:
    """Return the entry that approves a server, as session/new names it, in a directory."""
    if "command" in definition:
        environment = {pair["name"]: pair["value"] for pair in definition.get("env") or ()}
        server = {"command": definition["command"], "args": definition.get("args") or [], "env": environment}
    else:
        server = {"url": definition["url"]}
    text = encode_json({"path": cwd, "server": server})
    return f"{definition['name']}-{hashlib.sha256(encode_line(text)).hexdigest()[:16]}"
