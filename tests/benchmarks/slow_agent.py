"""The agent of `agent.c` in Python, for machines without a C compiler: the same words, the same answers.

It costs little where there is much to send: 0.5 to 0.8 µs a piece of a burst (compiled: 0.2), because the
line is encoded once for each turn and sent SLICE at a time. A turn costs 0.1 ms (compiled: 0.02), which the
time of a short answer shows, and a start costs an interpreter's: without a compiler, the times of A and C are
the agent's for the most part; the CPU of the server is right all the same.
"""

from __future__ import annotations

import json
import os
import re
import select
import sys
import time
from dataclasses import dataclass, field, replace
from typing import Any

SLICE = 8
READ_SIZE = 256 * 1024

_WORD = re.compile(r"bench:([a-z0-9=,]+)")
_UPDATE = (
    '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"%s","update":'
    '{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"%s"}}}}\n'
)
_MODES = {
    "currentModeId": "agent",
    "availableModes": [{"id": m, "name": m} for m in ("agent", "plan", "ask")],
}
_INITIALIZED = {
    "protocolVersion": 1,
    "agentCapabilities": {
        "loadSession": False,
        "promptCapabilities": {"audio": False, "embeddedContext": False, "image": True},
    },
    "authMethods": [{"id": "cursor_login", "name": "Cursor Login"}],
}


def _setting(name: str, otherwise: int) -> int:
    return int(os.environ.get(name) or otherwise)


@dataclass
class Plan:
    chunks: int = field(default_factory=lambda: _setting("BENCH_CHUNKS", 1))
    bytes: int = field(default_factory=lambda: _setting("BENCH_BYTES", 20))
    pace: int = field(default_factory=lambda: _setting("BENCH_PACE", 0))
    apart: int = 0
    tell: int = 0

    @classmethod
    def read(cls, prompt: str) -> Plan:
        plan = cls()
        found = _WORD.search(prompt)
        for word in found[1].split(",") if found else ():
            name, _, value = word.partition("=")
            plan = replace(plan, tell=1, chunks=1) if name == "tell" else replace(plan, **{name: int(value)})
        return plan

    def text(self) -> str:
        head = f"~{time.monotonic_ns()};" if self.pace else "~"
        return head + "x" * (self.bytes - len(head))


def _write(text: str) -> None:
    data = memoryview(text.encode())
    while data:
        data = data[os.write(1, data) :]


def _line(**message: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", **message}) + "\n"


@dataclass
class Turn:
    id: Any
    session: str
    plan: Plan
    due: float
    line: str
    sent: int = 0


class Acp:
    """Serve ACP on stdin and stdout until the end of the input."""

    def __init__(self) -> None:
        self._turns: list[Turn] = []
        self._openings: list[tuple[float, Any]] = []
        self._counts = {"prompts": 0, "cancels": 0, "sessions": 0}

    def serve(self) -> None:
        held = b""
        while True:
            wait = self._work()
            if not select.select([0], [], [], wait)[0]:
                continue
            data = os.read(0, READ_SIZE)
            if not data:
                break
            *lines, held = (held + data).split(b"\n")
            for line in lines:
                self._hear(json.loads(line))
        sys.stderr.write(self._told() + "\n")

    def _told(self) -> str:
        return " ".join(f"{name}={count}" for name, count in self._counts.items())

    def _hear(self, message: dict[str, Any]) -> None:
        method, params, request_id = message.get("method"), message.get("params") or {}, message.get("id")
        if method == "session/prompt":
            self._counts["prompts"] += 1
            self._begin(request_id, params["sessionId"], Plan.read(params["prompt"][0]["text"]))
        elif method == "session/cancel":
            self._counts["cancels"] += 1
            for turn in [turn for turn in self._turns if turn.session == params["sessionId"]]:
                self._turns.remove(turn)
                _write(_line(id=turn.id, result={"stopReason": "cancelled"}))
        elif method in ("session/set_mode", "authenticate"):
            _write(_line(id=request_id, result={}))
        elif method == "initialize":
            _write(_line(id=request_id, result=_INITIALIZED))
        elif method == "session/new":
            self._openings.append((time.monotonic() + _setting("BENCH_SESSION_MS", 0) / 1000, request_id))
        elif method is not None and request_id is not None:
            _write(_line(id=request_id, error={"code": -32601, "message": "Method not found"}))

    def _begin(self, request_id: Any, session: str, plan: Plan) -> None:
        line = _UPDATE % (session, f"~{self._told()};" if plan.tell else plan.text())
        due = time.monotonic()
        if plan.apart:
            due += plan.pace * (self._counts["prompts"] * 618 % 1000) / 1e9
        self._turns.append(Turn(request_id, session, plan, due, line))

    def _work(self) -> float | None:
        """Send what is due; return the seconds until something is again, None for never."""
        now = time.monotonic()
        while self._openings and self._openings[0][0] <= now:
            _, request_id = self._openings.pop(0)
            self._counts["sessions"] += 1
            session = f"5e55-{self._counts['sessions']:08x}-{os.getpid()}"
            _write(_line(id=request_id, result={"sessionId": session, "modes": _MODES}))
        for turn in self._turns[:]:
            self._send(turn, now)
        dues = [turn.due for turn in self._turns] + [due for due, _ in self._openings[:1]]
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    def _send(self, turn: Turn, now: float) -> None:
        plan = turn.plan
        if plan.pace:
            while turn.sent < plan.chunks and turn.due <= now:
                _write(_UPDATE % (turn.session, plan.text()))
                turn.sent += 1
                turn.due += plan.pace / 1e6
        else:
            count = min(SLICE, plan.chunks - turn.sent)
            _write(turn.line * count)
            turn.sent += count
        if turn.sent >= plan.chunks:
            self._turns.remove(turn)
            _write(_line(id=turn.id, result={"stopReason": "end_turn"}))


def _assistant(text: str, **fields: Any) -> str:
    content = [{"type": "text", "text": text}]
    message = {"type": "assistant", "message": {"role": "assistant", "content": content}, "session_id": "S"}
    return json.dumps({**message, **fields}) + "\n"


def print_answer() -> None:
    """Answer the prompt on stdin as stream-json."""
    plan = Plan.read(sys.stdin.read())
    _write(json.dumps({"type": "system", "subtype": "init", "session_id": "S", "model": "Bench"}) + "\n")
    due, text = time.monotonic(), plan.text()
    if plan.pace:
        for _ in range(plan.chunks):
            _write(_assistant(plan.text(), timestamp_ms=int(time.time() * 1000)))
            due += plan.pace / 1e6
            time.sleep(max(0.0, due - time.monotonic()))
    else:
        _write(_assistant(text, timestamp_ms=int(time.time() * 1000)) * plan.chunks)
        _write(_assistant(text * plan.chunks))
    whole = "" if plan.pace else text * plan.chunks
    usage = {"inputTokens": 10, "outputTokens": 10, "cacheReadTokens": 0, "cacheWriteTokens": 0}
    result = {"type": "result", "subtype": "success", "is_error": False, "result": whole, "session_id": "S"}
    _write(json.dumps({**result, "usage": usage}) + "\n")


def main(words: list[str]) -> int:
    """Do what the first word that is known says."""
    small = {
        "--version": "2026.09.23-bench",
        "models": "Available models\n\nauto - Auto (default)\nbench-1 - Bench 1\n",
        "status": "Logged in as bench@example.com",
    }
    for word in words:
        if word in small:
            print(small[word])
            return 0
        if word in {"acp", "-p", "--print"}:
            time.sleep(_setting("BENCH_START_MS", 0) / 1000)
            (Acp().serve if word == "acp" else print_answer)()
            return 0
    print("error: this agent speaks acp and -p only", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
