"""The same work straight over the agent's pipes, without HTTP and without an event loop.

One process that takes the jobs of `load.py`, and the agent's program as its argument. Its own cost is that of
server and client together, as there is neither.
"""

from __future__ import annotations

import os
import select
import selectors
import subprocess
import sys
import time
from collections import deque
from typing import Any

import orjson

from tests.benchmarks.jobs import Ask, Found, Job, Outcome, decode_job, encode

READ_SIZE = 256 * 1024
OPTIONS = ("--output-format", "stream-json", "--stream-partial-output", "--model", "bench-1")


class Call:
    """One request on its way."""

    def __init__(self, ask: Ask, found: Found, late_s: list[float]) -> None:
        self._ask, self._found, self._late_s = ask, found, late_s
        self._began = time.perf_counter()
        self._pieces = 0

    def piece(self, text: str) -> None:
        if not self._pieces:
            self._found.first_s.append(time.perf_counter() - self._began)
        self._pieces += 1
        stamp = text[1:20].partition(";")[0]
        if stamp.isdigit():
            self._late_s.append((time.monotonic_ns() - int(stamp)) / 1e9)

    def end(self) -> None:
        self._found.took_s.append(time.perf_counter() - self._began)
        self._found.pieces += self._pieces
        self._found.failed += self._pieces != self._ask.pieces


class Warm:
    """An ACP child on pipes."""

    def __init__(self, program: str) -> None:
        self._process = subprocess.Popen(
            [program, "acp"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._stdin, False)
        self._ids = 0
        self._held = b""
        self._calls: dict[str, Call] = {}
        self._prompts: dict[int, str] = {}
        self._stock: deque[str] = deque()
        self._send("initialize", {"protocolVersion": 1, "clientCapabilities": {}})
        self._hear()

    def run(self, job: Job, outcome: Outcome) -> None:
        """Make the requests of a job, as many at a time as it says."""
        begun = 0
        for _ in range(job.concurrency - len(self._stock)):
            self._send("session/new", {"cwd": "/", "mcpServers": []})
        while len(self._stock) < job.concurrency:
            self._hear()
        while begun < job.count or self._prompts:
            while begun < job.count and len(self._prompts) < job.concurrency and self._stock:
                which = begun % len(job.asks)
                begun += 1
                call = Call(job.asks[which], outcome.found[which], outcome.late_s)
                self._begin(call, job.asks[which].prompt)
            if self._prompts or not self._stock:
                self._hear()

    def _begin(self, call: Call, prompt: str) -> None:
        session = self._stock.popleft()
        self._calls[session] = call
        content = [{"type": "text", "text": prompt}]
        self._prompts[self._send("session/prompt", {"sessionId": session, "prompt": content})] = session
        self._send("session/new", {"cwd": "/", "mcpServers": []})

    def _send(self, method: str, params: dict[str, Any]) -> int:
        self._ids += 1
        message = {"jsonrpc": "2.0", "id": self._ids, "method": method, "params": params}
        data = memoryview(orjson.dumps(message) + b"\n")
        while data:
            try:
                data = data[os.write(self._stdin, data) :]
            except BlockingIOError:
                # The agent may itself be waiting, for somebody to read what it wrote.
                readable, _, _ = select.select([self._stdout], [self._stdin], [])
                if readable:
                    self._hear()
        return self._ids

    def _hear(self) -> None:
        *lines, self._held = (self._held + os.read(self._stdout, READ_SIZE)).split(b"\n")
        for line in lines:
            message = orjson.loads(line)
            if "method" in message:
                params = message["params"]
                self._calls[params["sessionId"]].piece(params["update"]["content"]["text"])
            elif (session := self._prompts.pop(message["id"], None)) is not None:
                self._calls.pop(session).end()
            elif session := message["result"].get("sessionId"):
                self._stock.append(session)


class Cold:
    """A print-mode process for each request."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._selector = selectors.DefaultSelector()
        self._running = 0

    def run(self, job: Job, outcome: Outcome) -> None:
        """Make the requests of a job, as many at a time as it says."""
        begun = 0
        while begun < job.count or self._running:
            while begun < job.count and self._running < job.concurrency:
                which = begun % len(job.asks)
                begun += 1
                self._begin(Call(job.asks[which], outcome.found[which], outcome.late_s), job.asks[which])
            for key, _ in self._selector.select():
                self._hear(*key.data)

    def _begin(self, call: Call, ask: Ask) -> None:
        process = subprocess.Popen(
            [self._program, "-p", *OPTIONS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin as stdin:
            stdin.write(ask.prompt.encode())
        self._selector.register(process.stdout, selectors.EVENT_READ, (process, bytearray(), call))
        self._running += 1

    def _hear(self, process: subprocess.Popen[bytes], held: bytearray, call: Call) -> None:
        assert process.stdout is not None
        data = os.read(process.stdout.fileno(), READ_SIZE)
        held += data
        if data:
            *lines, rest = held.split(b"\n")
            held[:] = rest
            for line in lines:
                event = orjson.loads(line)
                if event["type"] == "assistant" and "timestamp_ms" in event:
                    call.piece(event["message"]["content"][0]["text"])
            return
        self._selector.unregister(process.stdout)
        process.stdout.close()
        process.wait()
        self._running -= 1
        call.end()


def main(program: str) -> None:
    """Do each job on stdin and print what was found."""
    warm, cold = Warm(program), Cold(program)
    for line in sys.stdin.buffer:
        job = decode_job(line)
        outcome = Outcome([Found() for _ in job.asks])
        cpu, began = time.process_time(), time.perf_counter()
        (cold if job.asks[0].pinned else warm).run(job, outcome)
        outcome.wall_s = time.perf_counter() - began
        outcome.load_cpu_s = time.process_time() - cpu
        sys.stdout.buffer.write(encode(outcome))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1])
