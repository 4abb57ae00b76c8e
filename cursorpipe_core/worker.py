"""One agent process that serves ACP, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from cursorpipe_core.acp import AcpClient, AcpSession, Capabilities
from cursorpipe_core.bounds import bounded
from cursorpipe_core.config import AgentSettings
from cursorpipe_core.counts import Counts
from cursorpipe_core.errors import (
    AgentCrashError,
    AuthenticationError,
    CursorpipeError,
    InvalidRequestError,
    SessionError,
    ToolsUnavailableError,
)
from cursorpipe_core.habitat import Habitat, habitat
from cursorpipe_core.instance import Instance
from cursorpipe_core.liveness import Liveness
from cursorpipe_core.offers import Offer
from cursorpipe_core.outcome import judge_exit
from cursorpipe_core.process import ChildProcess, resident_bytes
from cursorpipe_core.prompt import Prompt
from cursorpipe_core.sessions import SessionDispenser
from cursorpipe_core.tool_room import ToolRoom
from cursorpipe_core.tool_rooms import ToolRooms
from cursorpipe_core.turn import Dialogue, ToolDialogue, Turn
from cursorpipe_core.version import __version__
from cursorpipe_core.worker_session import WorkerSession

logger = logging.getLogger(__name__)

#: Seconds an agent may take to ask a server for its tools; the slowest took six from a cold start.
LISTED_WITHIN_S = 10.0
#: Seconds that it then gets to take them in, which it does beside what it does with a prompt.
SETTLE_S = 0.02
#: Seconds an agent may take to confirm a cancelled turn; it does so within milliseconds (CLI contract
#: §4.8). One that does not is still generating, and its process is replaced.
CANCEL_TIMEOUT_S = 5.0
#: Seconds between the end of the output and the exit status that explains it.
EXIT_STATUS_WAIT_S = 1.0
#: Seconds a process gets to leave at the end of its input, and then at SIGTERM.
POLITE_EXIT_S = 1.0
SIGTERM_GRACE_S = 2.0

#: The login method of the Cursor CLI (CLI contract §4.2).
CURSOR_LOGIN = "cursor_login"


class AgentWorker:
    """One life of one `agent acp` process, with its directories and its stock of sessions.

    Entering starts it and returns once it has a session, or raises why it could not; leaving ends it,
    bounded, and removes what it had. It dies once: after ``wait_ended`` it serves nothing more.
    """

    def __init__(
        self,
        settings: AgentSettings,
        instance: Instance,
        *,
        stock: int,
        most: int = 0,
        model: str | None = None,
        counts: Counts | None = None,
        on_release: Callable[[], None] = lambda: None,
        on_stage: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Describe it; ``on_stage`` is told each stage of the start, and of a session, as it begins."""
        self._settings = settings
        self._instance = instance
        self._on_release = on_release
        self._on_stage = on_stage
        self._stock = stock
        self._most = most
        self._model = model
        self._counts = counts or Counts()
        self._stack = AsyncExitStack()
        self._output_ended = asyncio.Event()
        self._end: asyncio.Future[CursorpipeError] = asyncio.get_running_loop().create_future()
        self._idle = asyncio.Event()
        self._idle.set()
        self._liveness = Liveness(settings)
        self._place: Habitat
        self._child: ChildProcess
        self._client: AcpClient
        self._rooms: ToolRooms
        self._dispenser: SessionDispenser
        self._capabilities: Capabilities
        self._pid: int | None = None
        self._in_flight = 0
        self._parked = 0
        self._sessions_opened = 0
        self._prompted = False
        self._started_at = 0.0
        self._cancelled: dict[str, asyncio.TimerHandle] = {}
        self._given_up: set[str] = set()
        self.notes: list[str] = []

    @property
    def pid(self) -> int | None:
        """The process id, once there is a process."""
        return self._pid

    @property
    def serves(self) -> bool:
        """Whether a turn can be begun; the process may be dead before anybody has been told why."""
        return not (self._end.done() or self._output_ended.is_set())

    @property
    def in_flight(self) -> int:
        """How many turns are open, cancelled ones included until the agent has confirmed them."""
        return self._in_flight

    @property
    def in_use(self) -> bool:
        """Whether a turn is open, or waits for its caller."""
        return not self._idle.is_set()

    @property
    def sessions_ready(self) -> int:
        """How many unused sessions are in stock."""
        return self._dispenser.ready

    async def __aenter__(self) -> Self:
        try:
            async with bounded("start", self._settings.startup_timeout_s):
                await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def adopt(self, settings: AgentSettings) -> None:
        """Go on with other settings, as far as they are not those of the process's start."""
        self._settings = settings
        self._liveness.adopt(settings)

    def reserve(self) -> None:
        """Take a place for a turn, to be used by a turn or given back by ``release``."""
        self._in_flight += 1
        self._idle.clear()

    def release(self) -> None:
        """Give a place back; wakes those who wait for one."""
        self._in_flight -= 1
        if not (self._in_flight or self._parked):
            self._idle.set()
        self._on_release()

    def park(self) -> None:
        """Give a place back while its turn waits for its caller; the turn still keeps the process."""
        self._parked += 1
        self.release()

    def unpark(self) -> None:
        """Take the place of such a turn again, whether there is one or not."""
        self._parked -= 1
        self.reserve()

    def begin_now(self, prompt: Prompt, turn: Turn, *, keep: bool = False) -> Dialogue | None:
        """Begin a turn, in a reserved place and an unused session; what happens goes to ``turn``.

        None, with the place still reserved, if no session is in stock. With ``keep`` the session stays open
        for other turns until the dialogue is closed. Raises InvalidRequestError for images that the agent
        does not take.
        """
        try:
            self._check_images(prompt)
        except InvalidRequestError:
            self.release()
            raise
        session_id = self._dispenser.take_now()
        return None if session_id is None else self._begin(session_id, prompt, turn, keep=keep)

    async def begin(self, prompt: Prompt, turn: Turn, *, keep: bool = False) -> Dialogue:
        """Begin a turn for which ``begin_now`` has found no session, in one that is made for it.

        Raises what keeps a session from being opened. Cancelled before that, it leaves nothing behind.
        """
        try:
            session_id = await self._dispenser.make()
        except BaseException:
            self.release()
            raise
        return self._begin(session_id, prompt, turn, keep=keep)

    async def open_with(self, offer: Offer, *, wait: bool) -> str:
        """Open a session of its own that has an MCP server; returns its id.

        With ``wait`` only once the agent has asked for the server's tools: some would take a prompt without
        them. Raises what keeps a session from being opened, and ToolsUnavailableError if it does not ask.
        """
        session_id = await self._rooms.open(offer, self._open_session)
        try:
            if wait and not offer.endpoint.listed.is_set():
                async with asyncio.timeout(LISTED_WITHIN_S):
                    await offer.endpoint.listed.wait()
                await asyncio.sleep(SETTLE_S)
        except BaseException as exc:
            self.close_session(session_id)
            if isinstance(exc, TimeoutError):
                raise ToolsUnavailableError(offer.address.transport) from None
            raise
        return session_id

    def begin_in(self, session_id: str, prompt: Prompt, turn: Turn) -> ToolDialogue:
        """Begin a turn, in a reserved place and a session that ``open_with`` opened.

        Raises InvalidRequestError for images that the agent does not take; the session is closed then.
        """
        try:
            self._check_images(prompt)
        except InvalidRequestError:
            self.close_session(session_id)
            self.release()
            raise
        return self._begin(session_id, prompt, turn, keep=True)

    def close_session(self, session_id: str) -> None:
        """Give back a session in which nothing goes on, with its directory."""
        self._rooms.leave(session_id)
        self._client.forget_session(session_id, close=self._capabilities.close_session)

    def _begin(self, session_id: str, prompt: Prompt, turn: Turn, *, keep: bool) -> WorkerSession:
        session = WorkerSession(self, session_id, keep=keep)
        if turn.ended:  # its time ran out while the session was opened
            session.give_back()
        else:
            session.go_on(prompt, turn)
        return session

    def _check_images(self, prompt: Prompt) -> None:
        if prompt.images and not self._capabilities.images:
            raise InvalidRequestError("The agent takes no images.", param="messages")

    def start_turn(self, session_id: str, prompt: Prompt, turn: Turn, on_end: Callable[[], None]) -> None:
        """Begin a turn in a session; ``on_end`` is called when it is free again."""
        self._prompted = True
        turn.begin()
        self._client.prompt(session_id, prompt, turn, on_end)

    @property
    def permissions_refused(self) -> int:
        """How many permission requests of the agent were refused in its life."""
        return self._client.permissions_refused

    @property
    def sessions_opened(self) -> int:
        """How many sessions the process has opened in its life."""
        return self._sessions_opened

    @property
    def age_s(self) -> float:
        """Seconds since the start."""
        return asyncio.get_running_loop().time() - self._started_at

    def rss_bytes(self) -> int:
        """Return the resident memory of the process and its children; 0 when it is gone."""
        return resident_bytes(self._pid) if self._pid is not None else 0

    def retire(self, reason: CursorpipeError) -> None:
        """Declare the process fit to be replaced: no turn is begun any more, those that run go on."""
        if not self._end.done():
            self._end.set_result(reason)

    async def wait_ended(self) -> CursorpipeError:
        """Wait until the process is dead or fit to be replaced; returns why."""
        return await asyncio.shield(self._end)

    async def drain(self, timeout_s: float) -> None:
        """Wait until no turn is open, at most ``timeout_s`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()

    async def _start(self) -> None:
        enter = self._stack.enter_async_context
        self._on_stage("process")
        self._place = await enter(habitat(self._settings, self._instance))
        program = self._settings.command()
        self._rooms = ToolRooms(self._place, program)
        command = (*program, *self._settings.model_arguments(self._model), "acp")
        self._child = ChildProcess(
            command, env=self._place.env, cwd=self._place.cwd, on_stdout=self._on_output
        )
        self._pid = self._child.pid
        self._counts.acp.started += 1
        self._stack.push_async_callback(self._child.stop, polite=POLITE_EXIT_S, grace=SIGTERM_GRACE_S)
        self._place.on_started(self._pid)
        self._client = AcpClient(
            self._child.write,
            permissions=self._settings.permissions,
            client_version=__version__,
            redact=self._settings.redact,
            counts=self._counts,
        )
        self._liveness.heard()
        self._started_at = asyncio.get_running_loop().time()
        watch = asyncio.create_task(self._watch(), name=f"watch {self._pid}")
        self._stack.push_async_callback(_end_task, watch)
        self._on_stage("initialize")
        self._capabilities = await self._client.initialize(self._settings.startup_timeout_s)
        self._dispenser = await self._sign_in(
            SessionDispenser(self._open_session, stock=self._stock, most=self._most, counts=self._counts)
        )
        listen = asyncio.create_task(self._check_liveness(), name=f"liveness {self._pid}")
        self._stack.push_async_callback(_end_task, listen)

    async def _sign_in(self, dispenser: SessionDispenser) -> SessionDispenser:
        """Make the first session, with `authenticate` before it where that is right (CLI contract §4.2).

        A stored login wants it. With a key it is left out, because it may start a browser's login; should
        the agent refuse a session all the same, it is sent then, once.
        """
        methods = self._capabilities.auth_methods
        if CURSOR_LOGIN in methods and not self._settings.has_credentials:
            await self._authenticate(CURSOR_LOGIN)
            return await self._stack.enter_async_context(dispenser)
        try:
            return await self._stack.enter_async_context(dispenser)
        except AuthenticationError:
            if not methods:
                raise
        await self._authenticate(methods[0])
        return await self._stack.enter_async_context(dispenser)

    async def _authenticate(self, method: str) -> None:
        self._on_stage("authenticate")
        await self._client.authenticate(method)

    async def _watch(self) -> None:
        """See the process end, and tell everybody who waits for it why."""
        await self._output_ended.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXIT_STATUS_WAIT_S):
                await self._child.wait_exited()
        status = self._child.returncode
        if status is None:
            reason: CursorpipeError = AgentCrashError("The agent closed its output.")
        else:
            last_words = self._child.stderr_tail()
            # Of a process that has had prompts, every caller and whoever asks for `/ready` gets the reason.
            reason = judge_exit(status, last_words, self._settings.redact, quote=not self._prompted)
            logger.debug("worker %s: its last words: %s", self._pid, self._settings.redact(last_words))
        self.retire(reason)
        self._client.close(reason)

    async def _check_liveness(self) -> None:
        """End a process that listens no more, with its turns: they would wait for nothing."""
        reason = await self._liveness.wait_deaf(self._client.answers)
        self.retire(reason)
        self._client.close(reason)

    def _on_output(self, data: bytes) -> None:
        if not data:
            self._output_ended.set()
            return
        self._liveness.heard()
        try:
            self._client.feed(data)
        except AgentCrashError as exc:
            self.retire(exc)
            self._client.close(exc)

    async def _open_session(self, room: ToolRoom | None = None) -> str:
        try:
            session = await self._try_session(room)
        except SessionError:
            # "Failed to initialize session services" passes (CLI contract §4.3).
            session = await self._try_session(room)
        mode = self._settings.mode
        if mode in session.modes:
            self._on_stage("mode")
            try:
                await self._client.set_mode(session.id, mode)
            except SessionError as exc:
                self._note(f"The agent refused the mode '{mode}': {exc}")
        else:
            self._note(f"The agent does not offer the mode '{mode}'; it works in its own default.")
        return session.id

    async def _try_session(self, room: ToolRoom | None) -> AcpSession:
        self._on_stage("session/new")
        session = await self._client.new_session(
            room.cwd if room else self._place.cwd, room.grant if room else None
        )
        self._sessions_opened += 1
        self._counts.sessions_made += 1
        return session

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)
            logger.warning("worker %s: %s", self._pid, note)

    def abandon(self, session_id: str) -> None:
        """Stop a turn whose reader has left; the agent's answer to the prompt confirms it."""
        self._counts.acp.cancelled += 1
        self._client.cancel(session_id)
        self._cancelled[session_id] = asyncio.get_running_loop().call_later(
            CANCEL_TIMEOUT_S, self._give_up, session_id
        )

    def _give_up(self, session_id: str) -> None:
        """Wait no longer for a cancelled turn to end: the process is replaced once the others have."""
        del self._cancelled[session_id]
        self._given_up.add(session_id)
        self.retire(AgentCrashError("The agent did not stop a cancelled turn."))
        self.release()

    def end_session(self, session_id: str) -> None:
        """Give back a session, and the place of its turns, unless it was given up."""
        if session_id in self._given_up:
            return
        timer = self._cancelled.pop(session_id, None)
        if timer is not None:
            timer.cancel()
        self.close_session(session_id)
        self.release()


async def _end_task(task: asyncio.Task[None]) -> None:
    task.cancel()
    # Not awaited itself: a cancellation of ours could not be told from its own.
    await asyncio.wait({task})
