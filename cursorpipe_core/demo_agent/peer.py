"""JSON-RPC with the client, one object a line, from whichever thread (CLI contract §4.1)."""

from __future__ import annotations

import itertools
import threading
from typing import Any

from cursorpipe_core.demo_agent.output import encode_json, encode_line, write_line, write_raw
from cursorpipe_core.demo_agent.record import Record

Json = dict[str, Any]

INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
METHOD_NOT_FOUND = -32601
AUTH_REQUIRED = -32000

_MESSAGES = {
    INVALID_PARAMS: "Invalid params",
    INTERNAL_ERROR: "Internal error",
    METHOD_NOT_FOUND: "Method not found",
    AUTH_REQUIRED: "Authentication required",
}


class RpcError(Exception):
    """An error answer; the message goes with the code."""

    def __init__(self, code: int, data: Any = None) -> None:
        super().__init__(_MESSAGES[code])
        self.code = code
        self.data = data

    def as_json(self) -> Json:
        """Return the member ``error`` of the answer."""
        error: Json = {"code": self.code, "message": str(self)}
        return error if self.data is None else {**error, "data": self.data}


def invalid_params(message: str) -> RpcError:
    """Return the complaint about a parameter that has a wrong value."""
    return RpcError(INVALID_PARAMS, {"message": message})


def missing_param(name: str) -> RpcError:
    """Return the complaint about a parameter that is not there or of the wrong type (CLI contract §4.3)."""
    return RpcError(INTERNAL_ERROR, [{"path": [name], "message": "Invalid input"}])


class Question:
    """A request of our own; ``answered`` is set when there is a reply, or nobody waits for one."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.answered = threading.Event()
        self.result: Any = None
        self.error: Any = None


class Peer:
    """The client at the other end of standard input and output."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._ids = itertools.count()
        self._questions: dict[Any, Question] = {}

    def answer(self, request_id: Any, result: Any) -> None:
        """Answer a request."""
        write_line({"jsonrpc": "2.0", "id": request_id, "result": result})

    def refuse(self, request_id: Any, error: RpcError) -> None:
        """Answer a request with an error."""
        write_line({"jsonrpc": "2.0", "id": request_id, "error": error.as_json()})

    def update(self, session_id: str, update: Json, *, torn: bool = False) -> None:
        """Send a ``session/update``."""
        params = {"sessionId": session_id, "update": update}
        write_line({"jsonrpc": "2.0", "method": "session/update", "params": params}, torn=torn)

    def ask(self, method: str, params: Json) -> Question:
        """Send a request; the reply comes to the question that is returned."""
        question = Question(method)
        request_id = next(self._ids)
        self._questions[request_id] = question
        write_line({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
        return question

    def take_reply(self, message: Json) -> None:
        """Take an answer to a request of our own; one to no request is ignored."""
        request_id = message.get("id")
        question = self._questions.pop(request_id, None) if isinstance(request_id, int) else None
        if question is None:
            return
        question.result, question.error = message.get("result"), message.get("error")
        reply = {"error": question.error} if question.error else {"result": question.result}
        self._record.add("answered", id=request_id, method=question.method, **reply)
        question.answered.set()


class ChunkWriter:
    """Writes the chunks of one kind to one session; all but the text is made once."""

    def __init__(self, session_id: str, kind: str) -> None:
        update = {"sessionUpdate": kind, "content": {"type": "text", "text": ""}}
        params = {"sessionId": session_id, "update": update}
        line = encode_json({"jsonrpc": "2.0", "method": "session/update", "params": params})
        self._head = line.removesuffix('""}}}}')

    def write(self, text: str) -> None:
        """Write one chunk."""
        write_raw(encode_line(f"{self._head}{encode_json(text)}}}}}}}}}\n"))
