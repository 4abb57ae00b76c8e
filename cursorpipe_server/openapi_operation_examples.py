"""What the OpenAPI document shows of what operators ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

READY_EXAMPLE: Mapping[str, Any] = {
    "version": "1.0.0",
    "ready": True,
    "reason": None,
    "strategy": "auto",
    "workers": [
        {
            "slot": 0,
            "state": "ready",
            "reason": None,
            "pid": 4711,
            "restarts": 0,
            "in_flight": 1,
            "sessions_ready": 3,
            "notes": [],
            "permissions_refused": 0,
            "model": None,
            "rss_bytes": 254803968,
        }
    ],
    "draining": 0,
    "subprocesses": 0,
    "waiting": 0,
    "tools": {
        "channel": "http",
        "proven": True,
        "parked": 1,
        "calls": 12,
        "groups": 9,
        "new": 5,
        "resumed": 8,
        "rebuilt": 1,
        "expired": 1,
        "died": 0,
        "refused": 0,
    },
}
STATUS_EXAMPLE: Mapping[str, Any] = {
    **READY_EXAMPLE,
    "at": "2026-10-01T12:00:05.120Z",
    "started_at": "2026-10-01T08:30:00.000Z",
    "demo": False,
    "agent": {"path": "/usr/local/bin/agent", "version": "2026.09.23-86fc751", "reason": None},
    "in_flight": 1,
    "windows": [
        {"seconds": 55.12, "requests": 12, "failed": 1, "first_text_s": 1.2},
        {"seconds": 295.12, "requests": 40, "failed": 1, "first_text_s": 1.1},
        {"seconds": 1795.12, "requests": 266, "failed": 1, "first_text_s": 1.1},
    ],
    "moments": [
        {"seconds": 10, "requests": 2, "failed": 0, "first_text_s": 1.3},
        {"seconds": 5.12, "requests": 1, "failed": 1, "first_text_s": None},
    ],
    "errors": [
        {
            "at": "2026-10-01T12:00:02.310Z",
            "route": "/v1/chat/completions",
            "code": "agent_crash",
            "message": "The agent was killed by SIGKILL (out of memory?).",
            "request_id": "req_0c8f2f4e6f6f4b5c9a3f1d2e7b8a9c0d",
            "count": 1,
        }
    ],
}
_METRICS = """\
# HELP cursorpipe_requests_in_flight Requests that are being served.
# TYPE cursorpipe_requests_in_flight gauge
cursorpipe_requests_in_flight 1.0
"""
METRICS_EXAMPLES: Mapping[str, str] = {
    "text/plain": _METRICS,
    "application/openmetrics-text": f"{_METRICS}# EOF\n",
}
NOT_READY_EXAMPLE: Mapping[str, Any] = {
    **READY_EXAMPLE,
    "ready": False,
    "reason": "The Cursor CLI is not signed in.",
    "workers": [
        {
            **READY_EXAMPLE["workers"][0],
            "state": "tripped",
            "reason": "The Cursor CLI is not signed in.",
            "pid": None,
            "in_flight": 0,
            "sessions_ready": 0,
        }
    ],
}
