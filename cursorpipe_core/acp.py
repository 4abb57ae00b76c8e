"""A client of the Agent Client Protocol: what its messages mean, for one agent process.

Sources: ACP v1 (initialization, authentication, session-setup, prompt-turn, tool-calls, cancellation)
and, where Cursor goes its own way, CLI contract §4.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cursorpipe_core.completion import FinishReason, ToolEvent, Usage
from cursorpipe_core.config import Permissions
from cursorpipe_core.counts import Counts
from cursorpipe_core.errors import (
    AgentTimeoutError,
    AuthenticationError,
    CursorpipeError,
    ProtocolVersionError,
    SessionError,
)
from cursorpipe_core.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, Connection, Json, RpcError
from cursorpipe_core.offers import Grant
from cursorpipe_core.outcome import judge_rpc
from cursorpipe_core.prompt import Prompt
from cursorpipe_core.turn import Turn

logger = logging.getLogger(__name__)

PROTOCOL_VERSION = 1

#: How long `authenticate` may take: with a stored login it answers at once, signed out never (CLI
#: contract §4.2).
AUTHENTICATE_TIMEOUT_S = 10.0
#: Seconds `session/new` may take, and a change of mode; up to 8 have been seen under load (CLI contract
#: §6, §8.7).
SESSION_TIMEOUT_S = 30.0

#: What the agent's stop reasons mean (ACP v1, prompt-turn). A reason that is not here is taken for an
#: ordinary end, because the agent may be newer than this table.
_FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "max_turn_requests": FinishReason.LENGTH,
    "refusal": FinishReason.REFUSAL,
}

#: The kinds of permission option that carry out a policy, best first (ACP v1, tool-calls).
_WANTED_KINDS = {
    Permissions.ALLOW: ("allow_once", "allow_always"),
    Permissions.REFUSE: ("reject_once", "reject_always"),
}

#: Answers to Cursor's own requests, in the nested form that alone is understood (CLI contract §4.7).
_QUESTION_SKIPPED = {"outcome": {"outcome": "skipped", "reason": "Nobody is there to be asked."}}
_PLAN_ANSWERS: Mapping[Permissions, Json] = {
    Permissions.ALLOW: {"outcome": {"outcome": "accepted"}},
    Permissions.REFUSE: {
        "outcome": {
            "outcome": "rejected",
            "reason": "Nothing is carried out here. Answer with the plan as text.",
        }
    },
}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the agent said of itself: does it take images, may sessions be closed, how is it signed in to."""

    images: bool
    close_session: bool
    auth_methods: Sequence[str]


@dataclass(frozen=True, slots=True)
class AcpSession:
    """A session as the agent opened it, with the modes it offers."""

    id: str
    modes: Sequence[str]


class AcpClient:
    """Speaks ACP with one agent process, all its sessions side by side.

    Feed it the agent's output by ``feed``, and ``close`` it with the reason when that ends. Every
    request that the agent makes is answered, or its turn would hang (CLI contract §4.7).
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        *,
        permissions: Permissions,
        client_version: str,
        redact: Callable[[str], str] = str,
        counts: Counts | None = None,
    ) -> None:
        self._connection = Connection(
            write, on_request=self._on_request, on_notification=self._on_notification
        )
        self._permissions = permissions
        self._client_version = client_version
        self._redact = redact
        self._turns: dict[str, Turn] = {}
        self._grants: dict[str, Grant] = {}
        self._counts = counts or Counts()
        self.permissions_refused = 0

    @property
    def feed(self) -> Callable[[bytes], None]:
        """The entrance for the agent's output; raises AgentCrashError for a line beyond the bound."""
        return self._connection.feed

    def close(self, reason: CursorpipeError) -> None:
        """Fail every open request and turn with ``reason``. Idempotent."""
        self._connection.close(reason)

    async def initialize(self, timeout_s: float) -> Capabilities:
        """Agree on the protocol. Raises ProtocolVersionError if the agent speaks another."""
        result = await self._request(
            "initialize",
            {
                "protocolVersion": PROTOCOL_VERSION,
                "clientCapabilities": {
                    "fs": {"readTextFile": False, "writeTextFile": False},
                    "terminal": False,
                },
                "clientInfo": {"name": "cursorpipe", "version": self._client_version},
            },
            phase="start",
            timeout_s=timeout_s,
        )
        version = _member(result, "protocolVersion")
        if version != PROTOCOL_VERSION:
            raise ProtocolVersionError(
                f"The agent speaks version {version!r} of ACP, not {PROTOCOL_VERSION}."
            )
        agent = _member(result, "agentCapabilities")
        offered = _member(agent, "sessionCapabilities")
        methods = _member(result, "authMethods")
        return Capabilities(
            images=_member(_member(agent, "promptCapabilities"), "image") is True,
            close_session=isinstance(_member(offered, "close"), dict),
            auth_methods=[
                method["id"]
                for method in methods or ()
                # A method with a type wants a terminal or a person (ACP v1, authentication).
                if isinstance(_member(method, "id"), str) and _member(method, "type") in {None, "agent"}
            ],
        )

    async def authenticate(self, method: str) -> None:
        """Use a stored login. Raises AuthenticationError if there is none (CLI contract §4.2)."""
        try:
            await self._request(
                "authenticate",
                {"methodId": method},
                phase="authentication",
                timeout_s=AUTHENTICATE_TIMEOUT_S,
            )
        except (AgentTimeoutError, SessionError) as exc:
            # Silence means signed out, and whatever the words are in which a login is refused, it is.
            raise AuthenticationError from exc

    async def new_session(self, cwd: str, grant: Grant | None = None) -> AcpSession:
        """Open a session in the absolute directory ``cwd``, with the MCP server that ``grant`` is for.

        Raises AuthenticationError when a login is missing, and what else the agent's error means.
        """
        result = await self._request(
            "session/new",
            {"cwd": cwd, "mcpServers": [] if grant is None else grant.servers},
            phase="session start",
            timeout_s=SESSION_TIMEOUT_S,
        )
        session_id = _member(result, "sessionId")
        if not isinstance(session_id, str):
            raise SessionError("The agent opened a session without an id.")
        if grant is not None:
            self._grants[session_id] = grant
        modes = _member(_member(result, "modes"), "availableModes")
        modes = modes if isinstance(modes, list) else ()
        return AcpSession(session_id, [mode["id"] for mode in modes if isinstance(_member(mode, "id"), str)])

    async def set_mode(self, session_id: str, mode: str) -> None:
        """Put a session into a mode that it offers."""
        await self._request(
            "session/set_mode",
            {"sessionId": session_id, "modeId": mode},
            phase="session mode",
            timeout_s=SESSION_TIMEOUT_S,
        )

    def forget_session(self, session_id: str, *, close: bool) -> None:
        """Take note that a session is used no more; ``close``: give it back, as the agent can take it."""
        self._grants.pop(session_id, None)
        if close:
            self._connection.send("session/close", {"sessionId": session_id}, _ignore)

    def prompt(self, session_id: str, prompt: Prompt, turn: Turn, on_end: Callable[[], None]) -> None:
        """Begin a turn: what the agent says goes to ``turn``.

        ``on_end`` is called when the agent has answered the prompt, or never will: from then on the
        session is free.
        """
        self._turns[session_id] = turn

        def end(result: Json, error: CursorpipeError | None) -> None:
            del self._turns[session_id]
            try:
                self._settle(turn, result, error)
            finally:
                on_end()

        self._connection.send(
            "session/prompt", {"sessionId": session_id, "prompt": list(_content(prompt))}, end
        )

    def cancel(self, session_id: str) -> None:
        """Ask the agent to end the session's turn; the prompt's own answer confirms it."""
        self._connection.notify("session/cancel", {"sessionId": session_id})

    async def answers(self, timeout_s: float) -> bool:
        """Ask something cheap, and return whether any answer comes in time.

        No agent knows the method, and each must refuse a method that it does not know (JSON-RPC 2.0 §5.1).
        """
        try:
            await self._connection.request("_cursorpipe/ping", {}, phase="sign of life", timeout_s=timeout_s)
        except RpcError:
            return True
        except CursorpipeError:
            return False
        return True

    async def _request(self, method: str, params: Json, *, phase: str, timeout_s: float) -> Json:
        try:
            return await self._connection.request(method, params, phase=phase, timeout_s=timeout_s)
        except RpcError as exc:
            raise judge_rpc(exc, self._redact) from exc

    def _on_notification(self, method: str, params: Json) -> None:
        if method != "session/update":
            logger.debug("ignored the agent's notification %s", method)
            return
        try:
            # Nearly every message is a piece of an answer, in just this shape.
            update = params["update"]
            said = update["content"]["text"] if update["sessionUpdate"] == "agent_message_chunk" else None
            turn = self._turns[params["sessionId"]]
        except (KeyError, TypeError):
            self._take_update(params)
            return
        if type(said) is str:
            turn.text(said)
        else:
            self._take_update(params)

    def _take_update(self, params: Json) -> None:
        """Take an update of any shape that is no piece of an answer."""
        turn = self._turn_of(params)
        update = _member(params, "update")
        if turn is None or not isinstance(update, dict):
            return  # no prompt is open: commands, titles, late pieces of a cancelled turn
        kind = update.get("sessionUpdate")
        if kind == "agent_thought_chunk":
            text = _member(update.get("content"), "text")
            if isinstance(text, str):
                turn.thought(text)
        elif kind in ("tool_call", "tool_call_update"):  # a tuple, as it may be of any type
            if (grant := self._grants.get(params["sessionId"])) is not None:
                grant.announce(update)
            turn.tool(
                ToolEvent(
                    str(update.get("toolCallId")), str(update.get("title") or ""), str(update.get("status"))
                )
            )

    def _on_request(self, request_id: Json, method: str, params: Json) -> None:
        if method == "session/request_permission":
            self._connection.answer(request_id, {"outcome": self._permit(params)})
        elif method == "cursor/ask_question":
            self._connection.answer(request_id, _QUESTION_SKIPPED)
        elif method == "cursor/create_plan":
            self._connection.answer(request_id, _PLAN_ANSWERS[self._permissions])
        elif method.startswith("cursor/"):
            # Refusing an unknown one has ended turns; an empty result has not (CLI contract §4.7).
            self._connection.answer(request_id, {})
        elif method == "elicitation/create":
            self._connection.refuse(request_id, INVALID_PARAMS, "elicitation was not offered")
        else:
            self._connection.refuse(request_id, METHOD_NOT_FOUND, f"no such method: {method}")

    def _settle(self, turn: Turn, result: Json, error: CursorpipeError | None) -> None:
        """End a turn as the answer to its prompt says."""
        if isinstance(error, RpcError):
            turn.fail(judge_rpc(error, self._redact))
        elif error is not None:
            turn.fail(error)
        elif (reason := _member(result, "stopReason")) == "cancelled":
            turn.fail(SessionError("The agent cancelled the turn."))
        else:
            known = _FINISH_REASONS.get(reason) if isinstance(reason, str) else None
            turn.finish(known or FinishReason.STOP, _usage(_member(result, "usage")))

    def _turn_of(self, params: Json) -> Turn | None:
        session_id = _member(params, "sessionId")
        return self._turns.get(session_id) if isinstance(session_id, str) else None

    def _permit(self, params: Json) -> Json:
        """Decide a permission request by the policy, and by the kind of its options alone."""
        turn = self._turn_of(params)
        if turn is None or turn.ended:
            return {"outcome": "cancelled"}
        options = _member(params, "options")
        permissions = self._permissions
        grant = self._grants.get(_member(params, "sessionId"))
        if grant is not None and grant.covers(params):
            # The caller's own tools, which the caller runs if it likes to: nothing happens here.
            permissions = Permissions.ALLOW
            turn.announced.add(str(_member(_member(params, "toolCall"), "toolCallId")))
        if permissions is Permissions.REFUSE:
            self.permissions_refused += 1
            self._counts.permissions_refused += 1
        for kind in _WANTED_KINDS[permissions]:
            for option in options if isinstance(options, list) else ():
                if _member(option, "kind") == kind:
                    return {"outcome": "selected", "optionId": _member(option, "optionId")}
        return {"outcome": "cancelled"}


def _content(prompt: Prompt) -> Iterator[Json]:
    """Yield the content blocks of a prompt (ACP v1, content)."""
    yield {"type": "text", "text": prompt.text}
    for image in prompt.images:
        yield {"type": "image", "mimeType": image.mime, "data": base64.b64encode(image.data).decode()}


def _usage(reported: Json) -> Usage | None:
    """Read the usage of a prompt's answer, which Cursor does not send but other agents do."""
    sent, received = _member(reported, "inputTokens"), _member(reported, "outputTokens")
    cached = _member(reported, "cachedReadTokens")
    if not (isinstance(sent, int) and isinstance(received, int) and sent + received > 0):
        return None
    cached = cached if isinstance(cached, int) else 0
    return Usage(sent + cached, received, cached)


def _member(value: Json, name: str) -> Any:
    """Return a member of a JSON object; None where there is no such member or no object."""
    return value.get(name) if isinstance(value, dict) else None


def _ignore(result: Json, error: CursorpipeError | None) -> None:
    """Take an answer that nobody waits for."""
