"""A caller's tool through the agent: what a call costs and what its result does, beside a plain answer.

The agent is the stand-in, which is an MCP client; its own share is in all three times.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cursorpipe_core
from tests.benchmarks.cases import Figures
from tests.benchmarks.jobs import PATH, Job, quantile
from tests.benchmarks.servers import Setup
from tests.benchmarks.sides import HttpSide, Side
from tests.tool_scripts import call, together, tools_directive

_SCRIPT = Path(cursorpipe_core.__file__).with_name("demo_agent") / "__main__.py"

#: The stand-in as the agent.
STAND_IN = Setup({"CURSORPIPE_AGENT_NODE": sys.executable, "CURSORPIPE_AGENT_SCRIPT": str(_SCRIPT)}, {})

_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
_PROMPT = tools_directive(together(call("get_weather", {"city": "Paris"})), answer="Fine.")


class _Caller:
    """One client: by a key of its own, as only so many turns of one may wait."""

    def __init__(self, host: str, port: int, key: int) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=60)
        self._key = key

    def trip(self) -> tuple[float, float, float]:
        """Return the seconds of a plain answer, of a call, and of the answer to its result."""
        plain_s, _ = self._ask([{"role": "user", "content": "[[demo:answer]]"}])
        messages: list[dict[str, Any]] = [{"role": "user", "content": _PROMPT}]
        call_s, message = self._ask(messages, tools=_TOOLS)
        (called,) = message["tool_calls"]
        messages += [message, {"role": "tool", "tool_call_id": called["id"], "content": "sunny"}]
        result_s, message = self._ask(messages, tools=_TOOLS)
        assert message["content"] == "Fine.", message
        return plain_s, call_s, result_s

    def _ask(self, messages: list[dict[str, Any]], **fields: Any) -> tuple[float, dict[str, Any]]:
        body = json.dumps({"messages": messages, **fields})
        began = time.perf_counter()
        self._connection.request("POST", PATH, body, {"x-api-key": f"key-{self._key}"})
        answer = json.loads(self._connection.getresponse().read())
        took_s = time.perf_counter() - began
        message: dict[str, Any] = answer["choices"][0]["message"]
        return took_s, message


def measure_trips(side: Side, job: Job) -> Figures:
    """Have as many clients as the job says make their trips."""
    assert isinstance(side, HttpSide)
    server, each = side.server, max(1, job.count // job.concurrency)

    def trips(key: int) -> list[tuple[float, float, float]]:
        caller = _Caller(server.host, server.port, key)
        return [caller.trip() for _ in range(each)]

    before = server.cpu_s()
    with ThreadPoolExecutor(job.concurrency) as pool:
        found = [trip for made in pool.map(trips, range(job.concurrency)) for trip in made]
    cpu_s = server.cpu_s() - before
    plain, called, result = zip(*found, strict=True)
    return {
        "plain p50 ms": quantile(plain, 0.5) * 1e3,
        "call p50 ms": quantile(called, 0.5) * 1e3,
        "result p50 ms": quantile(result, 0.5) * 1e3,
        "call p99 ms": quantile(called, 0.99) * 1e3,
        "CPU ms/trip": cpu_s * 1e3 / len(found),
    }
