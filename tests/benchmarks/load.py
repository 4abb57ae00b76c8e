"""The load generator: a raw HTTP/1.1 client in a process of its own, one job on each line of its input.

It must not be the bottleneck, so it does as little as a client can: the requests are encoded once, a
response is only counted, and there is no task, parser or object for a piece of a stream.

Checked with `--compare canned`, a server whose answers are ready made, in one run with the floor on two
cores: 32,000 to 36,000 short answers a second on one connection and 52,000 to 53,000 on 32, where the floor
has 4,500 and 11,700; 820,000 to 990,000 pieces a second, where the floor has 235,000 to 380,000. It was busy
for half of a core at most there, and for 26 % with the floor. The share is told of each round, and the table
warns of a median over 80 %, which would have measured the load.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Callable, Coroutine
from typing import cast

import uvloop

from tests.benchmarks.jobs import PATH, Ask, Found, Job, Outcome, decode_job, encode

#: How many bytes of an answer are kept, for who wants to read it.
_SAID = 2000
_STAMP = re.compile(rb"~(\d{6,});")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED_END = b"0\r\n\r\n"


class Caller(asyncio.Protocol):
    """One connection; ``on_end`` is called when an answer is over, or will never be."""

    def __init__(self, outcome: Outcome, on_end: Callable[[Caller], None], drop_after: int) -> None:
        self._outcome = outcome
        self._on_end = on_end
        self._drop_after = drop_after
        self._transport: asyncio.Transport
        self._busy = False
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self.open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._busy:
            self._over(ok=False)

    def call(self, request: bytes, ask: Ask, found: Found) -> None:
        self._ask, self._found = ask, found
        self._head, self._tail = b"", b""
        self._in_body = False
        self._left = -1
        self._pieces = 0
        self._status_ok = False
        self._busy = True
        self._began = time.perf_counter()
        self._transport.write(request)

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            return
        now_ns = time.monotonic_ns()
        if not self._in_body:
            self._head += data
            at = self._head.find(b"\r\n\r\n")
            if at < 0:
                return
            data = self._read_head(at)
        pieces = data.count(b"~")
        if pieces:
            if not self._pieces:
                self._found.first_s.append(time.perf_counter() - self._began)
                self._outcome.said = data[:_SAID].decode("utf-8", "replace")
            self._pieces += pieces
            for stamp in _STAMP.findall(data):
                self._outcome.late_s.append((now_ns - int(stamp)) / 1e9)
            if self._drop_after and self._pieces >= self._drop_after:
                self._transport.abort()
                self._over(ok=True, whole=False)
                return
        if self._left >= 0:
            self._left -= len(data)
            if self._left <= 0:
                self._over(ok=self._status_ok)
        elif data.endswith(_CHUNKED_END) or (self._tail + data[-8:]).endswith(_CHUNKED_END):
            self._over(ok=self._status_ok)
        else:
            self._tail = (self._tail + data[-8:])[-8:]

    def _read_head(self, at: int) -> bytes:
        self._in_body = True
        self._status_ok = self._head.startswith(b"HTTP/1.1 200")
        length = _LENGTH.search(self._head, 0, at + 2)
        self._left = int(length[1]) if length else -1
        return self._head[at + 4 :]

    def _over(self, *, ok: bool, whole: bool = True) -> None:
        self._busy = False
        found = self._found
        found.took_s.append(time.perf_counter() - self._began)
        found.pieces += self._pieces
        found.failed += not ok or (whole and self._pieces != self._ask.pieces)
        self._on_end(self)


class Load:
    """One job: who calls next, and when all is over."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._loop = asyncio.get_running_loop()
        self._requests = [_request(ask) for ask in job.asks]
        self._begun = 0
        self._ended = 0
        self._callers: list[Caller] = []
        self._idle: list[Caller] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self.outcome = Outcome([Found() for _ in job.asks])

    async def run(self) -> Outcome:
        """Make all requests; those that do not end in time have failed."""
        job = self._job
        connections = min(job.count, int(job.rate) if job.rate else job.concurrency)
        self._idle = [await self._connect() for _ in range(connections)]
        cpu, began = time.process_time(), time.perf_counter()
        if job.rate:
            self._spawn(self._pace())
        else:
            idle, self._idle = self._idle, []
            for caller in idle:
                self._call(caller, self._take())
        try:
            async with asyncio.timeout(job.timeout_s):
                await self._over
        except TimeoutError:
            self.outcome.found[0].failed += job.count - self._ended
        self.outcome.wall_s = time.perf_counter() - began
        self.outcome.load_cpu_s = time.process_time() - cpu
        for caller in self._callers:
            caller.close()
        for task in self._tasks:
            task.cancel()
        return self.outcome

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> Caller:
        def make() -> Caller:
            return Caller(self.outcome, self._end, self._job.drop_after)

        _, caller = await self._loop.create_connection(make, self._job.host, self._job.port)
        self._callers.append(caller)
        return caller

    async def _pace(self) -> None:
        began = self._loop.time()
        for n in range(self._job.count):
            await asyncio.sleep(began + n / self._job.rate - self._loop.time())
            which = self._take()
            self._call(self._idle.pop() if self._idle else await self._connect(), which)

    def _take(self) -> int:
        self._begun += 1
        return (self._begun - 1) % len(self._requests)

    def _call(self, caller: Caller, which: int) -> None:
        caller.call(self._requests[which], self._job.asks[which], self.outcome.found[which])

    def _end(self, caller: Caller) -> None:
        self._ended += 1
        if self._ended == self._job.count and not self._over.done():
            self._over.set_result(None)
        elif self._job.rate or self._begun == self._job.count:
            if caller.open:
                self._idle.append(caller)
        elif caller.open and not self._job.drop_after:
            self._call(caller, self._take())
        else:
            self._spawn(self._call_anew(self._take()))

    async def _call_anew(self, which: int) -> None:
        while True:
            try:
                caller = await self._connect()
            except OSError:  # it is being started again; the job's own bound ends this
                await asyncio.sleep(0.05)
            else:
                self._call(caller, which)
                return


def _request(ask: Ask) -> bytes:
    body = ask.body.encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _run(job: Job) -> Outcome:
    return await Load(job).run()


def main() -> None:
    """Do each job on stdin and print what was found."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin.buffer:
            sys.stdout.buffer.write(encode(runner.run(_run(decode_job(line)))))
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
