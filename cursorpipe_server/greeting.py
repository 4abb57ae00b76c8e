"""What the operator is told when the server starts."""

from __future__ import annotations

import ipaddress

from cursorpipe_core import AgentNotFoundError, Permissions, Router, Strategy
from cursorpipe_server.config import Settings

_ENDPOINTS = (
    "POST /v1/chat/completions · POST /v1/completions · GET /v1/models · GET /health · GET /ready"
    " · GET /metrics · GET /status · GET /openapi.json"
)


async def greet(settings: Settings, router: Router, port: int) -> None:
    """Print what is served on ``port``: the address at once, the rest when the agent has said what it is."""
    host = settings.server.host
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{'localhost' if shown in {'0.0.0.0', '[::]'} else shown}:{port}"  # noqa: S104 — only shown
    tokens = settings.server.tokens()
    auth = f"{len(tokens)} bearer tokens" if len(tokens) > 1 else "bearer token" if tokens else "none"
    print(f"cursorpipe serves {url}/v1 (listening on {shown} port {port})", flush=True)
    lines = [
        f"  agent      {await _agent_line(router)}",
        f"  strategy   {_strategy_line(settings)}",
        f"  auth       {auth}",
        f"  endpoints  {_ENDPOINTS}",
        f"  status     {url}/",
        f"  docs       {url}/docs · {url}/redoc",
    ]
    if settings.agent.stand_in:
        lines.insert(0, "  DEMO MODE  answers come from the bundled demo agent, not from Cursor")
    print("\n".join(lines), flush=True)
    if is_open(settings):
        print(_OPEN_WARNING.format(host=shown), flush=True)
    if settings.agent.permissions is Permissions.ALLOW:
        where = settings.agent.workspace or "a private directory, and wherever else this user can"
        print(_ALLOW_WARNING.format(where=where), flush=True)


def is_open(settings: Settings) -> bool:
    """Whether other machines can reach the server and need no token."""
    return not settings.server.tokens() and not _is_loopback(settings.server.host)


_OPEN_WARNING = """
!! WARNING: listening on {host} without a token. Everybody who can reach this port can use the
!! agent and its account. Set CURSORPIPE_BEARER_TOKEN, or CURSORPIPE_HOST=127.0.0.1.
"""

_ALLOW_WARNING = """
!! WARNING: CURSORPIPE_PERMISSIONS=allow. Whoever may send a prompt can have the agent run commands and
!! change files in {where}.
"""


async def _agent_line(router: Router) -> str:
    try:
        agent = await router.describe_agent()
    except AgentNotFoundError as exc:
        return f"NOT FOUND. {exc}"
    return f"{agent.path}, version {agent.version or 'unknown'}"


def _strategy_line(settings: Settings) -> str:
    supervision = settings.supervision
    if supervision.strategy is Strategy.SUBPROCESS:
        return f"{supervision.strategy}: one process for each request"
    warm = f"{supervision.workers} ACP workers, {supervision.pool_size} sessions kept ready"
    return f"{supervision.strategy}: {warm}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
