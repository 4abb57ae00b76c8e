"""The directory in which one session works that has its caller's tools."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from cursorpipe_core.approvals import approve
from cursorpipe_core.endpoint import Address
from cursorpipe_core.errors import AgentCrashError
from cursorpipe_core.habitat import Habitat
from cursorpipe_core.offers import Grant, Offer, has_servers


@dataclass(frozen=True, slots=True)
class ToolRoom:
    """Where such a session works, and what it may do without asking."""

    cwd: str
    grant: Grant


def furnish(place: Habitat, number: int, offer: Offer) -> ToolRoom:
    """Make the room of a process's ``number``-th such session. Blocks; raises AgentCrashError.

    It has a directory of its own, except in a workspace: some agents share servers between all sessions of
    a directory. The agent's list of approvals is written to only if the configuration is its alone.
    """
    private_config = place.env.get("CURSOR_CONFIG_DIR") == place.own
    cwd = place.cwd
    try:
        if cwd.startswith(f"{place.own}/"):
            cwd = f"{place.own}/tools-{number}"
            os.mkdir(cwd, 0o700)  # noqa: PTH102 — as in habitat
        if offer.approve and private_config:
            approve(place.own, cwd, offer.address)
        config = place.env.get("CURSOR_CONFIG_DIR") or str(Path(place.env.get("HOME", "/"), ".cursor"))
        alone = not (has_servers(config) or has_servers(f"{cwd}/.cursor"))
        if offer.by_file and cwd != place.cwd:
            _write_file(cwd, offer.address)
    except OSError as exc:
        raise AgentCrashError(f"A session's private directory cannot be made: {exc.strerror}.") from exc
    return ToolRoom(cwd, Grant(offer, alone=alone))


def _write_file(cwd: str, address: Address) -> None:
    """Put a server into the file of a directory in which Cursor looks for some (CLI contract §4.3)."""
    headers = {header["name"]: header["value"] for header in address.server.get("headers", ())}
    servers = {address.name: {"url": address.server["url"], "headers": headers}}
    file = Path(cwd, ".cursor", "mcp.json")
    file.parent.mkdir(mode=0o700)
    file.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
