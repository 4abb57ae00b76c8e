"""A small MCP server over HTTP, which notes everything and answers calls when it is told to."""

from __future__ import annotations

import contextlib
import json
import queue
import select
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.unit.demo_agent.driver import wait_until

Json = dict[str, Any]

WEATHER = {
    "name": "get_weather",
    "description": "Tell the weather of a city.",
    "inputSchema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CLOCK = {"name": "get_time", "description": "Tell the time.", "inputSchema": {"type": "object"}}


class Parked:
    """A call that waits for the test to answer it."""

    def __init__(self, message: Json) -> None:
        self.id = message["id"]
        self.name = message["params"]["name"]
        self.arguments = message["params"]["arguments"]
        self.meta = message["params"].get("_meta", {})
        self.replied = threading.Event()
        self.lost = threading.Event()
        #: How often the client was told of progress.
        self.told = 0
        self.reply: Json = {}

    def answer(self, text: str, *, error: bool = False) -> None:
        self.settle({"result": {"content": [{"type": "text", "text": text}], "isError": error}})

    def settle(self, reply: Json) -> None:
        self.reply = reply
        self.replied.set()


class McpServer:
    """The server; ``seen`` are the messages that came, each with its HTTP method and headers.

    ``automatic`` answers calls at once; without it they are parked. ``streams``: as events, of which
    ``progress`` ones come all the time. ``listing``, if it is there, is waited for before tools are listed;
    ``paths`` are those that there are.
    """

    def __init__(self, *tools: Mapping[str, Any]) -> None:
        self.tools = list(tools) or [WEATHER, CLOCK]
        self.automatic: Callable[[str, Json], str] | None = None
        self.streams = True
        self.progress = False
        self.listing: threading.Event | None = None
        self.paths: set[str] | None = None
        self.seen: list[Json] = []
        self.calls: list[Parked] = []
        self.listeners: list[queue.SimpleQueue[Json]] = []
        self.closing = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/t/secret/mcp"

    def definition(self, name: str = "ct7k2p", **changes: Any) -> Json:
        headers = [{"name": "Authorization", "value": "Bearer secret"}]
        return {"type": "http", "name": name, "url": self.url, "headers": headers, **changes}

    def methods(self) -> list[str]:
        """What was asked and told, in order; of what is no message the HTTP method."""
        return [str(message.get("method", message["http"])) for message in list(self.seen)]

    def of(self, method: str) -> list[Json]:
        return [message for message in list(self.seen) if message.get("method", message["http"]) == method]

    def wait_for(self, method: str, count: int = 1) -> list[Json]:
        wait_until(lambda: len(self.of(method)) >= count, f"{count} × {method} at the server")
        return self.of(method)

    def parked(self, count: int = 1) -> list[Parked]:
        """Wait for calls; all that ever came, in the order of the client's ids."""
        wait_until(lambda: len(self.calls) >= count, f"{count} calls at the server")
        return sorted(self.calls, key=lambda call: call.id)

    def tell(self, method: str) -> None:
        """Tell all who listen."""
        wait_until(lambda: bool(self.listeners), "a listener")
        for listener in list(self.listeners):
            listener.put({"jsonrpc": "2.0", "method": method})

    def reply(self, message: Json) -> Json:
        """Return the reply to what is answered at once."""
        method = message["method"]
        if method == "initialize":
            version = message["params"]["protocolVersion"]
            return {"result": {"protocolVersion": version, "capabilities": {"tools": {"listChanged": True}}}}
        if method == "tools/list":
            if self.listing is not None:
                self.listing.wait()
            return {"result": {"tools": list(self.tools)}}
        return {"error": {"code": -32601, "message": "Method not found"}}


@contextlib.contextmanager
def serving(*tools: Mapping[str, Any]) -> Iterator[McpServer]:
    server = McpServer(*tools)
    try:
        yield server
    finally:
        server.close()


def _handler(server: McpServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self._note(message)
            if server.paths is not None and self.path not in server.paths:
                self._head(404, "content-length: 0")
            elif message.get("method") == "tools/call":
                self._call(Parked(message))
            elif "id" in message and "method" in message:
                self._json({"jsonrpc": "2.0", "id": message["id"], **server.reply(message)})
            else:
                self._head(202, "content-length: 0")

        def do_GET(self) -> None:
            self._note({})
            listener: queue.SimpleQueue[Json] = queue.SimpleQueue()
            self._open_stream()
            server.listeners.append(listener)
            while not self._is_over():
                with contextlib.suppress(queue.Empty):
                    self._event(listener.get(timeout=0.005))
            server.listeners.remove(listener)

        def do_DELETE(self) -> None:
            self._note({})
            self._head(200, "content-length: 0")

        def _call(self, call: Parked) -> None:
            server.calls.append(call)
            if server.automatic is not None:
                call.answer(server.automatic(call.name, call.arguments))
            if server.streams:
                self._open_stream()
                self._chunk(b": open\n\n")
            with contextlib.suppress(OSError):
                while not call.replied.wait(0.005):
                    if self._is_over():
                        call.lost.set()
                        return
                    if server.progress:
                        params = {"progressToken": call.meta.get("progressToken"), "progress": 1}
                        self._event({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
                        call.told += 1
                reply = {"jsonrpc": "2.0", "id": call.id, **call.reply}
                if server.streams:
                    self._event(reply)
                    self._chunk(b"")
                else:
                    self._json(reply)

        def _note(self, message: Json) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.seen.append({**message, "http": self.command, "path": self.path, "headers": headers})

        def _json(self, message: Json) -> None:
            body = json.dumps(message).encode()
            self._head(
                200, "content-type: application/json", "mcp-session-id: s1", f"content-length: {len(body)}"
            )
            self.wfile.write(body)

        def _open_stream(self) -> None:
            self._head(200, "content-type: text/event-stream", "transfer-encoding: chunked")

        def _head(self, status: int, *lines: str) -> None:
            self.wfile.write("\r\n".join([f"HTTP/1.1 {status} Yes", *lines, "", ""]).encode())

        def _event(self, message: Json) -> None:
            self._chunk(f"event: message\ndata: {json.dumps(message)}\n\n".encode())

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

        def _is_over(self) -> bool:
            """Whether the client has left, which says nothing more, or the server is to end."""
            return server.closing.is_set() or bool(select.select([self.connection], [], [], 0)[0])

    return Handler
