"""How agents use MCP, in the words of `DEMO_AGENT_MCP`: ways that a conversation must not depend on."""

from __future__ import annotations

from collections.abc import Mapping

#: What was measured of each agent, put together; Cursor's present builds are the default.
AGENTS: Mapping[str, str] = {
    "cursor": "",
    "claude": "shape=claude,no-wait,calls=readers,idle-limit=60",
    "codex": "shape=codex,no-wait,announce=running,ask=writers,calls=readers,limit=300,ignore-changes",
    "copilot": "shape=copilot,connect=background,ask=writers,discover,transport=http,delete,idle-limit=180",
    "gemini": "shape=gemini,announce=none,calls=serial,extra-argument,cancel=silence,idle-limit=300",
    "opencode": "shape=opencode,ask=never,late-text=20,cancel-answered,share-directory,idle-limit=60",
    "qwen": "shape=claude,announce=running,ask=writers,calls=serial,ignore-changes,deferred",
    "vibe": "shape=claude,limit=60,cancel=close,ignore-changes,deferred",
    "fast-agent": "shape=claude,append-mcp,fail-new,discover,delete",
}

#: One way at a time.
WAYS = (
    *("connect=background", "connect=prompt", "no-wait", "fail-new", "discover", "append-mcp", "delete"),
    *("ask=never", "ask=writers", "calls=serial", "calls=readers", "no-token", "extra-argument"),
    *("announce=running", "announce=none", "announce=none,ask=never", "ignore-changes", "share-directory"),
    *("late-text=5", "late-text=5,ask=never", "calls=serial,announce=running,late-text=5,ask=never"),
    *("shape=claude", "shape=codex", "shape=copilot", "shape=gemini,announce=none"),
    *("shape=opencode,ask=never", "cancel-answered", "deferred", "limit=30", "idle-limit=30"),
)
