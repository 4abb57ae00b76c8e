"""A session of the ACP mode and the turns in it (CLI contract §4.4, §4.7, §4.8)."""

from __future__ import annotations

import threading
from typing import Any

from cursorpipe_core.demo_agent import texts
from cursorpipe_core.demo_agent.knobs import Knobs
from cursorpipe_core.demo_agent.output import write_raw
from cursorpipe_core.demo_agent.peer import (
    AUTH_REQUIRED,
    INTERNAL_ERROR,
    METHOD_NOT_FOUND,
    ChunkWriter,
    Json,
    Peer,
    Question,
    RpcError,
)
from cursorpipe_core.demo_agent.process import Process
from cursorpipe_core.demo_agent.prompts import Prompt, perform
from cursorpipe_core.demo_agent.stage import NotSignedInError, Stage, TurnCancelledError, TurnFailedError
from cursorpipe_core.demo_agent.store import Conversation

#: Pieces of an error text that is not sent in one: small enough to cut every word of it.
_PIECE = 3

_PERMISSIONS = (
    ("allow-once", "Allow once", "allow_once"),
    ("allow-always", "Allow always", "allow_always"),
    ("reject-once", "Reject", "reject_once"),
)

#: How long a turn waits for the last word of the one it displaces, which may never come.
DISPLACED_WAIT_S = 1.0

_GARBAGE = (
    b"this is not JSON\n"
    b"\n"
    b"   \n"
    b"[1]\n"
    b"42\n"
    b'"text"\n'
    b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}\n'
    b'{"jsonrpc":"2.0","id":987654321,"result":null}\n'
    b'{"jsonrpc":"2.0","method":"demo/unheard_of","params":null}\n'
    b"\xff\xfe{\n"
)


class Session:
    """A conversation, its mode, and the one turn that may run in it."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.mode = "agent"
        self._lock = threading.Lock()
        self._turn: AcpStage | None = None

    @property
    def id(self) -> str:
        """The session's id."""
        return self.conversation.id

    def begin(self, turn: AcpStage) -> AcpStage | None:
        """Make a turn the running one; returns the one that it displaces, which is to be cancelled."""
        with self._lock:
            previous, self._turn = self._turn, turn
        return previous

    def end(self, turn: AcpStage) -> None:
        """Make room, unless another turn has taken it."""
        with self._lock:
            if self._turn is turn:
                self._turn = None

    @property
    def running(self) -> AcpStage | None:
        """The turn that runs; None: there is none."""
        with self._lock:
            return self._turn


class AcpStage(Stage):
    """A turn whose text goes out as chunks; it blocks where it asks the client."""

    def __init__(
        self,
        session: Session,
        peer: Peer,
        process: Process,
        *,
        question: str,
        images: list[str],
        knobs: Knobs,
        asks: bool,
    ) -> None:
        super().__init__(process, question, list(session.conversation.turns), images, knobs)
        self.session = session
        self.finished = threading.Event()
        self.peer = peer
        self._asks = asks
        self._open: Question | None = None
        self._message = ChunkWriter(session.id, "agent_message_chunk")
        self._thought = ChunkWriter(session.id, "agent_thought_chunk")

    def cancel(self) -> None:
        """Stop the turn, wherever it waits."""
        self.cancelled.set()
        question = self._open
        if question is not None:
            question.answered.set()

    def think(self, text: str) -> None:
        """Send a piece of a thought."""
        self.check_cancelled()
        self._thought.write(text)

    def _send(self, text: str, *, torn: bool) -> None:
        if torn:
            self._update(
                {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}, torn=True
            )
        else:
            self._message.write(text)

    def say_failure(self, failure: TurnFailedError) -> None:
        """Report a failure as the CLI does: as text (CLI contract §4.9)."""
        text = f"\n\n{failure.in_band}"
        step = _PIECE if failure.split else len(text)
        for start in range(0, len(text), step):
            self._message.write(text[start : start + step])

    def say_late(self) -> None:
        """Send what a cancelled turn still has to say."""
        for text in self.late_texts:
            self._message.write(text)

    def use_tool(self, call_id: str, command: str, output: str, *, repeated: bool = False) -> None:
        """Seem to run a command (CLI contract §4.4)."""
        self.check_cancelled()
        if repeated:
            self._update({"sessionUpdate": "tool_call", **_tool(call_id, "Terminal", None)})
        self._update({"sessionUpdate": "tool_call", **_tool(call_id, f"`{command}`", command)})
        self._progress(call_id, "in_progress")
        self._progress(call_id, "completed", {"exitCode": 0, "stdout": output, "stderr": ""})

    def ask_permission(self, command: str) -> str:
        """Ask the client, unless the configuration allows everything; says what was decided."""
        call_id = "call_demo_permission"
        output = {"exitCode": 0, "stdout": "x\n", "stderr": ""}
        call = _tool(call_id, f"`{command}`", command)
        self._update({"sessionUpdate": "tool_call", **call})
        if not self._asks:
            self._progress(call_id, "in_progress")
            self._progress(call_id, "completed", output)
            return "unrestricted"
        notice = {"type": "text", "text": f"Not in allowlist: {command.partition(' ')[0]}"}
        params = {
            "sessionId": self.session.id,
            "toolCall": {**call, "content": [{"type": "content", "content": notice}]},
            "options": [
                {"optionId": option, "name": name, "kind": kind} for option, name, kind in _PERMISSIONS
            ],
        }
        decision = _decision(self._wait_for(self.peer.ask("session/request_permission", params)))
        if decision.startswith("allow"):
            self._progress(call_id, "in_progress")
            self._progress(call_id, "completed", output)
        else:
            # A rejected tool ends like any other, only without an output (CLI contract §4.4).
            self._progress(call_id, "completed")
        return decision

    def ask(self, method: str, params: Json) -> Any:
        """Send a request of Cursor's own; a client that does not know it breaks the turn (§4.7)."""
        question = self._wait_for(self.peer.ask(method, params))
        if isinstance(question.error, dict) and question.error.get("code") == METHOD_NOT_FOUND:
            raise TurnFailedError(texts.WRITABLE_CLOSED, texts.WRITABLE_CLOSED)
        return question.result

    def keep(self) -> None:
        """Remember the turn; the first one gives the session its title."""
        conversation = self.session.conversation
        conversation.add(self.question, "".join(self.answer))
        if len(conversation.turns) == 1:
            self._update({"sessionUpdate": "session_info_update", "title": conversation.title})

    def write_garbage(self) -> None:
        """Write lines that are no messages, or answers to nothing."""
        write_raw(_GARBAGE)

    def _wait_for(self, question: Question) -> Question:
        self._open = question
        if not self.cancelled.is_set():  # set before it could find the question
            question.answered.wait()
        self._open = None
        if self.cancelled.is_set():
            raise TurnCancelledError
        return question

    def _progress(self, call_id: str, status: str, output: Json | None = None) -> None:
        update: Json = {"sessionUpdate": "tool_call_update", "toolCallId": call_id, "status": status}
        self._update(update if output is None else {**update, "rawOutput": output})

    def _update(self, update: Json, *, torn: bool = False) -> None:
        self.peer.update(self.session.id, update, torn=torn)


def _tool(call_id: str, title: str, command: str | None) -> Json:
    return {
        "toolCallId": call_id,
        "title": title,
        "kind": "execute",
        "status": "pending",
        "rawInput": {} if command is None else {"command": command},
    }


def _decision(question: Question) -> str:
    """Return the kind of the option that was chosen, or what else the reply comes to."""
    outcome = question.result.get("outcome") if isinstance(question.result, dict) else None
    if not isinstance(outcome, dict) or outcome.get("outcome") != "selected":
        return "cancelled"
    kinds = {option: kind for option, _, kind in _PERMISSIONS}
    chosen = outcome.get("optionId")
    return kinds.get(chosen, "rejected (unknown option)") if isinstance(chosen, str) else "rejected"


def run_turn(turn: AcpStage, prompt: Prompt, request_id: Any, previous: AcpStage | None) -> None:
    """Run a turn to its end and answer the request that began it."""
    if previous is not None:
        previous.finished.wait(DISPLACED_WAIT_S)
    try:
        _finish(turn, request_id, _perform(turn, prompt))
    except OSError:
        pass  # nobody reads any more; the end of the input will follow
    finally:
        turn.session.end(turn)
        turn.finished.set()


def _perform(turn: AcpStage, prompt: Prompt) -> str | RpcError:
    """Do what the prompt asks for; returns the stop reason."""
    try:
        turn.check_cancelled()
        perform(turn, prompt)
        if turn.lingers:
            turn.stay_silent()
    except TurnCancelledError:
        return "cancelled"
    except TurnFailedError as failure:
        turn.say_failure(failure)
        return "end_turn"
    except NotSignedInError:
        return RpcError(AUTH_REQUIRED)
    except BrokenPipeError:
        raise
    except OSError as error:
        # Of what the turn wanted from the system, not of the pipe: the request is still to be answered.
        return RpcError(INTERNAL_ERROR, {"details": str(error)})
    turn.keep()
    return "end_turn"


def _finish(turn: AcpStage, request_id: Any, end: str | RpcError) -> None:
    # Out of the session's way before the client can know: its next prompt must not end this turn.
    turn.session.end(turn)
    # Recorded before it is told, or what the client does next could be on record before it.
    turn.process.record.add("finished", session=turn.session.id, stop=str(end))
    if isinstance(end, RpcError):
        turn.peer.refuse(request_id, end)
        return
    turn.peer.answer(request_id, {"stopReason": end})
    if end == "cancelled":
        turn.say_late()
