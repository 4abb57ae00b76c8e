"""JSON-RPC 2.0 over lines: framing, correlation of answers by id, dispatch in order of arrival."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import orjson

from cursorpipe_core.completion import well_formed
from cursorpipe_core.errors import AgentCrashError, AgentTimeoutError, CursorpipeError

logger = logging.getLogger(__name__)

#: The longest line taken from an agent. One line over 16 MiB has been seen on the replay of a history
#: (CLI contract §4.1); past this the peer is broken and its process is replaced.
MAX_LINE_BYTES = 64 * 1024 * 1024

#: What a log line shows of a message that could not be understood: its beginning and nothing more,
#: because it may hold a part of an answer.
_SHOWN_BYTES = 40

METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602

#: Free-form JSON, as it comes off the wire; looked into at this border and nowhere behind it.
Json = Any


def decode(line: bytes) -> Json:
    """Parse one line of JSON; None for what is none.

    Half a surrogate pair, which a JavaScript program sends when it cuts a text inside an emoji, is
    taken as it comes: the other half is in a later line. So is a byte that is not UTF-8, as U+FFFD: a
    line that was skipped for it would shorten an answer without a word.
    """
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


class LineSplitter:
    """Cuts a stream of bytes into lines, in time linear in the bytes whatever their pieces are."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._pieces: list[bytes] = []
        self._held = 0
        self._max = max_line_bytes

    def feed(self, data: bytes) -> list[bytes]:
        r"""Take the next bytes; return the lines they complete, without their ``\n``.

        Raises AgentCrashError for a line over the maximum.
        """
        if self._held > self._max:
            return []
        lines = data.split(b"\n")
        if len(lines) > 1 and self._pieces:
            self._pieces.append(lines[0])
            lines[0] = b"".join(self._pieces)
            self._pieces.clear()
            self._held = 0
        rest = lines.pop()
        if rest:
            self._pieces.append(rest)
            self._held += len(rest)
            if self._held > self._max:
                self._pieces.clear()  # and _held stays: whatever follows is refused as well
                raise AgentCrashError(f"The agent sent a line of more than {self._max >> 20} MiB.")
        return lines

    def rest(self) -> bytes:
        """Return what came after the last line end, and forget it."""
        rest = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        return rest


class RpcError(CursorpipeError):
    """The peer answered a request with an error object (JSON-RPC 2.0 §5.1)."""

    def __init__(self, code: int, message: str, data: Json = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def text(self) -> str:
        """Return message and data as one text, for matching and for people."""
        if self.data is None:
            return well_formed(self.message)
        data = self.data
        if isinstance(data, dict):
            data = data.get("message") or data.get("details") or data
        return well_formed(f"{self.message}: {data if isinstance(data, str) else json.dumps(data)}")


#: Called with the result, or with the error, of one request; in the order of the lines.
Reply = Callable[[Json, CursorpipeError | None], None]


class Connection:
    """One peer: requests out, their answers and the peer's own requests and notifications in.

    ``feed`` dispatches each message before it looks at the next one, without a task, so that what
    arrived first is handled first, the answer to a request included. ``on_request`` must see to it that
    every id is answered.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        *,
        on_request: Callable[[Json, str, Json], None],
        on_notification: Callable[[str, Json], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._write = write
        self._on_request = on_request
        self._on_notification = on_notification
        self._splitter = LineSplitter()
        self._open: dict[int, Reply] = {}
        self._last_id = 0
        self._closed: CursorpipeError | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer.

        Raises AgentCrashError for a line over the maximum, and for one that cannot be handled: the lines
        behind it are lost with it, so the peer cannot be relied on any more.
        """
        for line in self._splitter.feed(data):
            try:
                self._dispatch(line)
            except Exception as exc:
                logger.exception("a message of the agent could not be handled")
                raise AgentCrashError("The agent sent a message of a shape that it must not have.") from exc

    def send(self, method: str, params: Json, reply: Reply) -> int:
        """Send a request; ``reply`` is called once, with its result or error. Returns its id."""
        self._last_id += 1
        if self._closed is not None:
            reply(None, self._closed)
            return self._last_id
        # Registered before it is written: the answer may be quicker than the return from the write.
        self._open[self._last_id] = reply
        self._put({"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params})
        return self._last_id

    async def request(self, method: str, params: Json, *, phase: str, timeout_s: float) -> Json:
        """Send a request and wait for its result, at most ``timeout_s`` seconds.

        Raises RpcError for an error answer, AgentTimeoutError naming ``phase``, and what ``close`` was given
        if the connection ends first. A late answer to an abandoned request is dropped.
        """
        future: asyncio.Future[Json] = self._loop.create_future()

        def settle(result: Json, error: CursorpipeError | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def expire() -> None:
            settle(None, AgentTimeoutError(phase, timeout_s))

        request_id = self.send(method, params, settle)
        # Not a scope that cancels: this is the one thing that is waited for, and sessions are made often.
        timer = self._loop.call_later(timeout_s, expire)
        try:
            return await future
        finally:
            timer.cancel()
            self._open.pop(request_id, None)

    def notify(self, method: str, params: Json) -> None:
        """Send a notification."""
        if self._closed is None:
            self._put({"jsonrpc": "2.0", "method": method, "params": params})

    def answer(self, request_id: Json, result: Json) -> None:
        """Answer a request of the peer."""
        if self._closed is None:
            self._put({"jsonrpc": "2.0", "id": request_id, "result": result})

    def refuse(self, request_id: Json, code: int, message: str) -> None:
        """Answer a request of the peer with an error."""
        if self._closed is None:
            error = {"code": code, "message": message}
            self._put({"jsonrpc": "2.0", "id": request_id, "error": error})

    def close(self, error: CursorpipeError) -> None:
        """Fail every open request with ``error``, and every later one. Idempotent."""
        if self._closed is not None:
            return
        self._closed = error
        replies = list(self._open.values())
        self._open.clear()
        for reply in replies:
            reply(None, error)

    def _put(self, message: dict[str, Json]) -> None:
        self._write(orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE))

    def _dispatch(self, line: bytes) -> None:
        message = decode(line)
        if not isinstance(message, dict):
            if line.strip():
                logger.debug("skipped a line that is no message: %r…", line[:_SHOWN_BYTES])
            return
        method = message.get("method")
        if isinstance(method, str):
            if "id" in message:
                self._on_request(message["id"], method, message.get("params"))
            else:
                self._on_notification(method, message.get("params"))
            return
        # A response is what has no method: its result may well be null.
        request_id = message.get("id")
        reply = self._open.pop(request_id, None) if isinstance(request_id, int) else None
        if reply is None:
            logger.debug("skipped an answer to no open request, id %r", request_id)
        elif isinstance(error := message.get("error"), dict):
            reply(None, _rpc_error(error))
        else:
            reply(message.get("result"), None)


def _rpc_error(error: dict[str, Json]) -> RpcError:
    code = error.get("code")
    return RpcError(
        code if isinstance(code, int) else 0, str(error.get("message") or "no message"), error.get("data")
    )
