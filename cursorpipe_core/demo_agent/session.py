"""A session of the ACP mode and the turns in it (CLI contract §4.4, §4.7, §4.8)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
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
from cursorpipe_core.demo_agent.request import Request
from cursorpipe_core.demo_agent.shapes import CURSOR_OPTIONS, Options, permission_options
from cursorpipe_core.demo_agent.stage import NotSignedInError, Stage, TurnCancelledError, TurnFailedError
from cursorpipe_core.demo_agent.store import Conversation
from cursorpipe_core.demo_agent.tool_calls import ToolCalls
from cursorpipe_core.demo_agent.tool_plan import Call, Result
from cursorpipe_core.demo_agent.toolbox import Toolbox

#: Pieces of an error text that is not sent in one: small enough to cut every word of it.
_PIECE = 3

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
    """A conversation, its mode, its tools, and the one turn that may run in it.

    ``standing`` is for prompts without a directive, once one had it that was to hold for more than its own.
    """

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.mode = "agent"
        self.toolbox: Toolbox | None = None
        self.standing: Request | None = None
        self._lock = threading.Lock()
        self._turn: AcpStage | None = None

    @property
    def id(self) -> str:
        """The session's id."""
        return self.conversation.id

    def settle(self, prompt: Prompt) -> Prompt:
        """Return a prompt with what an earlier one has decided for it, if it does not say itself."""
        if prompt.request.parameters.get("reluctant", "0") != "0":
            self.standing = prompt.request
        elif self.standing is not None and prompt.request.name == "answer":
            return prompt._replace(request=self.standing)
        return prompt

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
        self.asks = asks
        self._open: list[threading.Event] = []
        toolbox = session.toolbox
        self._tool_calls = None if toolbox is None else ToolCalls(self, toolbox)
        self._message = ChunkWriter(session.id, "agent_message_chunk")
        self._thought = ChunkWriter(session.id, "agent_thought_chunk")

    def cancel(self) -> None:
        """Stop the turn, wherever it waits."""
        self.cancelled.set()
        for event in list(self._open):
            event.set()

    def think(self, text: str) -> None:
        """Send a piece of a thought."""
        self.check_cancelled()
        self._thought.write(text)

    def _send(self, text: str, *, torn: bool) -> None:
        if torn:
            self.update(
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
            self.update({"sessionUpdate": "tool_call", **_tool(call_id, "Terminal", None)})
        self.update({"sessionUpdate": "tool_call", **_tool(call_id, f"`{command}`", command)})
        self._progress(call_id, "in_progress")
        self._progress(call_id, "completed", {"exitCode": 0, "stdout": output, "stderr": ""})

    def ask_permission(self, command: str) -> str:
        """Ask the client, unless the configuration allows everything; says what was decided."""
        call_id = "call_demo_permission"
        output = {"exitCode": 0, "stdout": "x\n", "stderr": ""}
        call = _tool(call_id, f"`{command}`", command)
        self.update({"sessionUpdate": "tool_call", **call})
        if not self.asks:
            self._progress(call_id, "in_progress")
            self._progress(call_id, "completed", output)
            return "unrestricted"
        notice = {"type": "text", "text": f"Not in allowlist: {command.partition(' ')[0]}"}
        params = {
            "sessionId": self.session.id,
            "toolCall": {**call, "content": [{"type": "content", "content": notice}]},
            "options": permission_options(CURSOR_OPTIONS),
        }
        decision = self.decide(self.peer.ask("session/request_permission", params), CURSOR_OPTIONS)
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

    def decide(self, question: Question, options: Options) -> str:
        """Wait for the answer to a permission request; returns the kind of the option that was chosen."""
        return _decision(self._wait_for(question), options)

    def get_ready(self) -> None:
        """Have the tools that the turn is to have."""
        if self.session.toolbox is not None:
            self.session.toolbox.get_ready(self.cancelled)
            names = [tool["name"] for tool in self.tools()]
            self.process.record.add("mcp-offered", session=self.session.id, names=names)

    def tools(self) -> list[Json]:
        """Return the tools of the session's servers."""
        toolbox = self.session.toolbox
        return [] if toolbox is None else [offer.tool for offer in toolbox.offers()]

    def call_tools(self, calls: Sequence[Call], say: Callable[[], None]) -> list[Result]:
        """Call tools of the session's servers."""
        self.check_cancelled()
        if self._tool_calls is None:
            return super().call_tools(calls, say)
        return self._tool_calls.make(calls, say)

    @contextlib.contextmanager
    def interruptible(self, event: threading.Event) -> Iterator[None]:
        """Have an event set if the turn is cancelled meanwhile, or was before."""
        self._open.append(event)
        try:
            if self.cancelled.is_set():
                event.set()
            yield
        finally:
            self._open.remove(event)

    def keep(self) -> None:
        """Remember the turn; the first one gives the session its title."""
        conversation = self.session.conversation
        conversation.add(self.question, "".join(self.answer))
        if len(conversation.turns) == 1:
            self.update({"sessionUpdate": "session_info_update", "title": conversation.title})

    def write_garbage(self) -> None:
        """Write lines that are no messages, or answers to nothing."""
        write_raw(_GARBAGE)

    def _wait_for(self, question: Question) -> Question:
        with self.interruptible(question.answered):
            question.answered.wait()
        if self.cancelled.is_set():
            raise TurnCancelledError
        return question

    def _progress(self, call_id: str, status: str, output: Json | None = None) -> None:
        update: Json = {"sessionUpdate": "tool_call_update", "toolCallId": call_id, "status": status}
        self.update(update if output is None else {**update, "rawOutput": output})

    def update(self, update: Json, *, torn: bool = False) -> None:
        """Send an update of the session."""
        self.peer.update(self.session.id, update, torn=torn)


def _tool(call_id: str, title: str, command: str | None) -> Json:
    return {
        "toolCallId": call_id,
        "title": title,
        "kind": "execute",
        "status": "pending",
        "rawInput": {} if command is None else {"command": command},
    }


def _decision(question: Question, options: Options) -> str:
    """Return the kind of the option that was chosen, or what else the reply comes to."""
    outcome = question.result.get("outcome") if isinstance(question.result, dict) else None
    if not isinstance(outcome, dict) or outcome.get("outcome") != "selected":
        return "cancelled"
    kinds = {option: kind for option, _, kind in options}
    chosen = outcome.get("optionId")
    return kinds.get(chosen, "rejected (unknown option)") if isinstance(chosen, str) else "rejected"


def run_turn(turn: AcpStage, prompt: Prompt, request_id: Any, previous: AcpStage | None) -> None:
    """Run a turn to its end and answer the request that began it."""
    if previous is not None:
        previous.finished.wait(DISPLACED_WAIT_S)
    try:
        _finish(turn, request_id, _perform(turn, prompt))
    except BrokenPipeError:
        pass  # nobody reads any more; the end of the input will follow
    finally:
        turn.session.end(turn)
        turn.finished.set()


def _perform(turn: AcpStage, prompt: Prompt) -> str | RpcError:
    """Do what the prompt asks for; returns the stop reason."""
    try:
        turn.get_ready()
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
