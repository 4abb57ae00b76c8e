"""The floor: the least that aiohttp can do between a client and an agent, to compare a server with.

It takes every request for a good one, checks nothing, logs nothing, restarts nothing and bounds nothing. What
it does do is done as in a server that is made well: an agent on true pipes, a reader callback, one write for
what one turn of the event loop brought, sessions made before they are needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson
import uvloop
from aiohttp import web

READ_SIZE = 256 * 1024
#: Sessions kept ready.
STOCK = 64

_BEFORE = (
    b'data: {"id":"chatcmpl-0","object":"chat.completion.chunk","created":0,"model":"auto","choices":'
    b'[{"index":0,"delta":{"content":'
)
_BEHIND = b'},"finish_reason":null}]}\n\n'
_END = (
    b'data: {"id":"chatcmpl-0","object":"chat.completion.chunk","created":0,"model":"auto","choices":'
    b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)


class Sink:
    """The pieces of one answer, for one handler that waits for them."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.over = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, piece: str) -> None:
        self.pieces.append(piece)
        self._wake()

    def end(self) -> None:
        self.over = True
        self._wake()

    async def more(self) -> list[str]:
        """Return what came since the last time; nothing at the end."""
        while not self.pieces and not self.over:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        pieces, self.pieces = self.pieces, []
        return pieces

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Pipes:
    """A child process: lines come by ``on_line``, and ``on_end`` is called behind the last."""

    def __init__(
        self, command: list[str], on_line: Callable[[bytes], None], on_end: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_line, self._on_end = on_line, on_end
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdin.fileno(), False)
        self._unsent: deque[memoryview] = deque()
        self._closing = False
        self._held = b""
        self._loop.add_reader(self._stdout.fileno(), self._read)

    def write(self, data: bytes) -> None:
        self._unsent.append(memoryview(data))
        if len(self._unsent) == 1:
            self._flush()
            if self._unsent:
                self._loop.add_writer(self._stdin.fileno(), self._flush)

    def close_stdin(self) -> None:
        self._closing = True
        if not self._unsent:
            self._stdin.close()

    def stop(self) -> None:
        self._process.kill()

    def _flush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._unsent:
                self._unsent[0] = self._unsent[0][os.write(self._stdin.fileno(), self._unsent[0]) :]
                if not self._unsent[0]:
                    self._unsent.popleft()
            self._loop.remove_writer(self._stdin.fileno())
            if self._closing:
                self._stdin.close()

    def _read(self) -> None:
        data = os.read(self._stdout.fileno(), READ_SIZE)
        if data:
            *lines, self._held = (self._held + data).split(b"\n")
            for line in lines:
                self._on_line(line)
            return
        self._loop.remove_reader(self._stdout.fileno())
        self._stdout.close()
        self._process.wait()
        self._on_end()


class Agent:
    """One ACP child and its sessions."""

    def __init__(self, program: str) -> None:
        self._pipes = Pipes([program, "acp"], self._hear, _ignore)
        self._replies: dict[int, Callable[[Any], None]] = {}
        self._sinks: dict[str, Sink] = {}
        self._ids = 0
        self._stock: deque[str] = deque()

    async def start(self) -> None:
        await self._request("initialize", {"protocolVersion": 1, "clientCapabilities": {}})
        for _ in range(STOCK):
            self._stock.append(await self._session())

    def stop(self) -> None:
        self._pipes.stop()

    async def begin(self, prompt: str) -> tuple[str, Sink]:
        if self._stock:
            session = self._stock.popleft()
            self._send("session/new", _NEW, lambda result: self._stock.append(result["sessionId"]))
        else:
            session = await self._session()
        sink = self._sinks[session] = Sink()

        def end(result: Any) -> None:
            del result
            del self._sinks[session]
            sink.end()

        content = [{"type": "text", "text": prompt}]
        self._send("session/prompt", {"sessionId": session, "prompt": content}, end)
        return session, sink

    def cancel(self, session: str) -> None:
        message = {"jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": session}}
        self._pipes.write(orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE))

    async def _session(self) -> str:
        found: str = (await self._request("session/new", _NEW))["sessionId"]
        return found

    async def _request(self, method: str, params: dict[str, Any]) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._send(method, params, future.set_result)
        return await future

    def _send(self, method: str, params: dict[str, Any], reply: Callable[[Any], None]) -> None:
        self._ids += 1
        self._replies[self._ids] = reply
        message = {"jsonrpc": "2.0", "id": self._ids, "method": method, "params": params}
        self._pipes.write(orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE))

    def _hear(self, line: bytes) -> None:
        message = orjson.loads(line)
        if "method" in message:
            params = message["params"]
            sink = self._sinks.get(params["sessionId"])
            if sink is not None:
                sink.put(params["update"]["content"]["text"])
        else:
            self._replies.pop(message["id"])(message.get("result"))


def run_once(program: str, model: str, prompt: str) -> Sink:
    """Run a print-mode process for one answer."""
    sink = Sink()

    def hear(line: bytes) -> None:
        event = orjson.loads(line)
        if event["type"] == "assistant" and "timestamp_ms" in event:
            sink.put(event["message"]["content"][0]["text"])

    options = ["--output-format", "stream-json", "--stream-partial-output", "--model", model]
    pipes = Pipes([program, "-p", *options], hear, sink.end)
    pipes.write(prompt.encode())
    pipes.close_stdin()
    return sink


_NEW = {"cwd": "/", "mcpServers": []}
_AGENT = web.AppKey("agent", Agent)
_PROGRAM = web.AppKey("program", str)


async def complete(request: web.Request) -> web.StreamResponse:
    """Relay one request."""
    body = orjson.loads(await request.read())
    prompt = "\n".join([message["content"] for message in body["messages"]])
    if body["model"] != "auto":
        return await answer(request, run_once(request.app[_PROGRAM], body["model"], prompt), body)
    agent = request.app[_AGENT]
    session, sink = await agent.begin(prompt)
    try:
        return await answer(request, sink, body)
    finally:
        if not sink.over:
            agent.cancel(session)


async def answer(request: web.Request, sink: Sink, body: dict[str, Any]) -> web.StreamResponse:
    """Answer as it was asked for, as a stream or whole."""
    if body.get("stream"):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while pieces := await sink.more():
            await response.write(b"".join([_BEFORE + orjson.dumps(piece) + _BEHIND for piece in pieces]))
        await response.write(_END)
        return response
    whole = []
    while pieces := await sink.more():
        whole += pieces
    message = {"role": "assistant", "content": "".join(whole)}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    fields = {"id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": "auto"}
    return web.Response(body=orjson.dumps({**fields, "choices": choices}), content_type="application/json")


def _ignore() -> None:
    """Take the end of an agent that nothing can be done about."""


async def serve(program: str) -> None:
    """Serve until the input ends."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", complete)
    app[_PROGRAM] = program
    app[_AGENT] = agent = Agent(program)
    await agent.start()
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    print(f"serves http://{host}:{port}/v1", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    agent.stop()
    await runner.cleanup()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as main:
        main.run(serve(sys.argv[1]))
