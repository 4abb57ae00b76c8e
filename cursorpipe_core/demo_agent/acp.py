"""The ACP mode: one long-lived process, many sessions, their turns side by side (CLI contract §4)."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cursorpipe_core.demo_agent import texts
from cursorpipe_core.demo_agent.account import acp_login
from cursorpipe_core.demo_agent.approvals import servers_of
from cursorpipe_core.demo_agent.context import Context
from cursorpipe_core.demo_agent.models import MODELS, ModelValueError
from cursorpipe_core.demo_agent.offers import COMMANDS, MODES, describe
from cursorpipe_core.demo_agent.peer import (
    AUTH_REQUIRED,
    INTERNAL_ERROR,
    METHOD_NOT_FOUND,
    Json,
    Peer,
    RpcError,
    invalid_params,
    missing_param,
)
from cursorpipe_core.demo_agent.prompts import read_blocks
from cursorpipe_core.demo_agent.script import crash
from cursorpipe_core.demo_agent.session import AcpStage, Session, run_turn
from cursorpipe_core.demo_agent.store import Conversation, new_id, stored
from cursorpipe_core.demo_agent.toolbox import Toolshed

_INITIALIZED = {
    "protocolVersion": 1,
    "agentCapabilities": {
        "loadSession": True,
        "mcpCapabilities": {"http": True, "sse": True},
        "promptCapabilities": {"audio": False, "embeddedContext": False, "image": True},
        "sessionCapabilities": {"list": {}},
    },
    "authMethods": [{"id": "cursor_login", "name": "Cursor Login"}],
}


class Server:
    """Reads messages and answers them; what may take its time does so in a thread of its own."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._process = context.process
        self._record = context.process.record
        self._peer = Peer(self._record)
        self._sessions: dict[str, Session] = {}
        self._store = context.settings.directory / "acp-sessions"
        self._toolshed = Toolshed(context.knobs.habits, context.process, context.settings.directory)
        self._parameterized = False
        self._login = acp_login(context.account, context.knobs.login)
        self._signed_in = self._login == "key"
        self._deaf = False
        self._quick: dict[str, Callable[[Any, Json], None]] = {
            "session/prompt": self._prompt,
            "session/list": self._list_sessions,
            "session/set_mode": self._set_mode,
            "session/set_model": self._set_model,
            "session/set_config_option": self._set_config_option,
            "cursor/list_available_models": self._list_models,
        }
        self._slow: dict[str, Callable[[Any, Json], None]] = {
            "initialize": self._initialize,
            "authenticate": self._authenticate,
            "session/new": self._new_session,
            "session/load": self._load_session,
        }

    def run(self) -> None:
        """Serve until standard input ends; does not return."""
        if self._context.faults.deaf_from_start():
            self._process.hang()
        for line in sys.stdin.buffer:
            message = _parse(line)
            if message is not None:
                self._dispatch(message)
            if self._deaf:
                self._process.hang()
        if self._process.stubborn:
            self._process.hang()
        self._toolshed.close()
        self._process.leave(0)

    def _dispatch(self, message: Json) -> None:
        method, params = message.get("method"), message.get("params")
        params = params if isinstance(params, dict) else {}
        if not isinstance(method, str):
            self._peer.take_reply(message)
            return
        session = params.get("sessionId")
        self._record.add("received", id=message.get("id"), method=method, session=session, params=params)
        if method == "initialize":
            self._greet(params)
        if "id" not in message:
            if method == "session/cancel":
                self._cancel(session)
        elif method in self._quick:
            self._respond(self._quick[method], message["id"], params)
        elif method in self._slow:
            _in_thread(lambda: self._respond(self._slow[method], message["id"], params))
        else:
            self._refuse(message["id"], RpcError(METHOD_NOT_FOUND, {"method": method}))

    def _respond(self, handler: Callable[[Any, Json], None], request_id: Any, params: Json) -> None:
        """Let a handler answer, or answer with what it raises."""
        try:
            handler(request_id, params)
        except RpcError as error:
            self._refuse(request_id, error)
        except ModelValueError as error:
            self._refuse(request_id, invalid_params(str(error)))
        except BrokenPipeError:
            pass  # nobody reads any more; the end of the input will follow
        except OSError as error:
            # The configuration cannot be written (CLI contract §2).
            self._refuse(request_id, RpcError(INTERNAL_ERROR, {"details": str(error)}))

    def _refuse(self, request_id: Any, error: RpcError) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._peer.refuse(request_id, error)

    def _greet(self, params: Json) -> None:
        """Note what the client can pick, before a request that it sent right behind is looked at."""
        if request := self._context.faults.claim("crash-before-initialize"):
            crash(self._process, request)
        capabilities = params.get("clientCapabilities")
        meta = capabilities.get("_meta") if isinstance(capabilities, dict) else None
        self._parameterized = isinstance(meta, dict) and meta.get("parameterizedModelPicker") is True

    # One method for each request, in the order of a client's life.

    def _initialize(self, request_id: Any, params: Json) -> None:
        del params
        if self._context.faults.claim("silent-initialize"):
            return
        other = self._context.faults.claim("other-protocol")
        version = {"protocolVersion": other.number("version")} if other else {}
        self._peer.answer(request_id, {**_INITIALIZED, **version})

    def _authenticate(self, request_id: Any, params: Json) -> None:
        if params.get("methodId") != "cursor_login":
            raise invalid_params(f"Unknown auth method: {params.get('methodId')}")
        if self._login == "hang":
            return
        if self._login == "browser":
            raise invalid_params(texts.BROWSER.format(url=texts.LOGIN_URL))
        self._signed_in = True
        self._peer.answer(request_id, {})

    def _new_session(self, request_id: Any, params: Json) -> None:
        cwd = self._check_opening(params)
        faults = self._context.faults
        if faults.claim("silent-session"):
            return
        self._delay_session()
        if faults.claim("session-fails-once"):
            raise RpcError(INTERNAL_ERROR, {"details": "Failed to initialize session services"})
        self._context.settings.ensure()
        session = Session(Conversation(self._store / new_id(), cwd))
        self._sessions[session.id] = session
        self._equip(session, cwd, params)
        described = self._describe(session, has_modes=faults.claim("no-modes") is None)
        self._peer.answer(request_id, {"sessionId": session.id, **described})
        self._announce(session)

    def _load_session(self, request_id: Any, params: Json) -> None:
        cwd = self._check_opening(params)
        session_id = params.get("sessionId")
        self._delay_session()
        session = self._find_session(session_id, cwd)
        if session is None:
            raise invalid_params(f'Session "{session_id}" not found')
        self._equip(session, cwd, params)
        for turn in session.conversation.turns:
            for kind, text in (("user_message_chunk", turn.question), ("agent_message_chunk", turn.answer)):
                content = {"type": "text", "text": text}
                self._peer.update(session.id, {"sessionUpdate": kind, "content": content})
        self._peer.answer(request_id, self._describe(session))
        self._announce(session)

    def _list_sessions(self, request_id: Any, params: Json) -> None:
        self._check_signed_in()
        cwd = params.get("cwd")
        sessions = [
            {
                "sessionId": meta["id"],
                "cwd": meta["cwd"],
                "title": meta["title"],
                "updatedAt": meta["updatedAt"],
            }
            for meta in stored(self._store)
            if cwd is None or cwd == meta["cwd"]
        ]
        self._peer.answer(request_id, {"sessions": sessions, "nextCursor": None})

    def _set_mode(self, request_id: Any, params: Json) -> None:
        self._put_into_mode(self._session(params), params.get("modeId"))
        self._peer.answer(request_id, {})

    def _set_model(self, request_id: Any, params: Json) -> None:
        self._session(params)
        self._choose_model(params.get("modelId"))
        self._peer.answer(request_id, {})

    def _set_config_option(self, request_id: Any, params: Json) -> None:
        session = self._session(params)
        option, value = params.get("configId"), params.get("value")
        if option == "mode":
            self._put_into_mode(session, value)
        elif option == "model":
            self._choose_model(value)
        elif isinstance(option, str) and self._parameterized:
            self._context.selection.choose_parameter(option, value)
        else:
            raise invalid_params(f"Unknown config option: {option}")
        self._peer.answer(request_id, {"configOptions": self._describe(session)["configOptions"]})

    def _list_models(self, request_id: Any, params: Json) -> None:
        del params
        self._check_signed_in()
        selection = self._context.selection
        models = [
            {"value": model.id, "name": model.name, "configOptions": selection.parameter_options(model)}
            for model in MODELS.values()
        ]
        self._peer.answer(request_id, {"models": models})

    def _prompt(self, request_id: Any, params: Json) -> None:
        session = self._session(params)
        self._check_signed_in()
        blocks = params.get("prompt")
        if not isinstance(blocks, list):
            raise missing_param("prompt")
        prompt = session.settle(read_blocks(blocks, self._context.faults))
        turn = AcpStage(
            session,
            self._peer,
            self._process,
            question=prompt.question,
            images=prompt.images,
            knobs=self._context.knobs,
            asks=not self._context.unrestricted,
        )
        self._record.add(
            "prompt",
            session=session.id,
            scenario=prompt.request.name,
            model=self._context.selection.slug.slug,
            mode=session.mode,
            text=prompt.text,
        )
        previous = session.begin(turn)
        if previous is not None:
            self._stop(previous)
        # Not in the turn's thread: the next line must not be read.
        self._deaf = prompt.request.name == "deaf"
        _in_thread(lambda: run_turn(turn, prompt, request_id, previous))

    def _cancel(self, session_id: Any) -> None:
        session = self._sessions.get(session_id) if isinstance(session_id, str) else None
        turn = session.running if session is not None else None
        if turn is not None:
            self._stop(turn)

    # What several of them need.

    def _stop(self, turn: AcpStage) -> None:
        # Recorded first: who sees the end of the turn may look for its cause at once.
        self._record.add("cancelled", session=turn.session.id)
        turn.cancel()

    def _choose_model(self, value: Any) -> None:
        if self._context.faults.claim("model-refused"):
            raise invalid_params(f"Invalid model value: {value}")
        self._context.selection.choose_value(value, parameterized=self._parameterized)

    def _check_signed_in(self) -> None:
        if not self._signed_in:
            raise RpcError(AUTH_REQUIRED)

    def _check_opening(self, params: Json) -> str:
        """Check what session/new and session/load have in common; returns the directory."""
        self._check_signed_in()
        cwd = params.get("cwd")
        if not isinstance(cwd, str):
            raise missing_param("cwd")
        if not isinstance(params.get("mcpServers"), list):
            raise missing_param("mcpServers")
        if not Path(cwd).is_absolute():
            raise invalid_params(f"cwd must be an absolute path: {cwd}")
        return cwd

    def _delay_session(self) -> None:
        request = self._context.faults.claim("slow-session")
        time.sleep((request.number("ms") if request else self._context.knobs.session_ms) / 1000)

    def _equip(self, session: Session, cwd: str, params: Json) -> None:
        """Give a session the servers that the client names for it, and those of its directory."""
        definitions = [*params["mcpServers"], *servers_of(cwd)]
        if definitions or session.toolbox is not None:
            session.toolbox = self._toolshed.open(session.id, cwd, definitions)

    def _find_session(self, session_id: Any, cwd: str) -> Session | None:
        """Return a session of this process, or one of another that is on disk."""
        if not isinstance(session_id, str):
            return None
        if session_id not in self._sessions and "load-fails" not in self._context.knobs.old_build:
            conversation = Conversation(self._store / session_id, cwd)
            if conversation.load():
                self._sessions[session_id] = Session(conversation)
        return self._sessions.get(session_id)

    def _session(self, params: Json) -> Session:
        session_id = params.get("sessionId")
        session = self._sessions.get(session_id) if isinstance(session_id, str) else None
        if session is None:
            raise RpcError(INTERNAL_ERROR, {"details": f"Session {session_id} not found"})
        return session

    def _put_into_mode(self, session: Session, mode: Any) -> None:
        if mode not in MODES:
            raise invalid_params(f"Invalid mode: {mode}")
        session.mode = mode

    def _describe(self, session: Session, *, has_modes: bool = True) -> Json:
        selection = self._context.selection
        return describe(selection, session.mode, parameterized=self._parameterized, has_modes=has_modes)

    def _announce(self, session: Session) -> None:
        self._peer.update(
            session.id, {"sessionUpdate": "available_commands_update", "availableCommands": COMMANDS}
        )


def _parse(line: bytes) -> Json | None:
    """Read a line; one that is no message is passed over in silence (CLI contract §4.1)."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _in_thread(function: Callable[[], None]) -> None:
    # A daemon: a turn that hangs must not keep the process.
    threading.Thread(target=function, daemon=True).start()
