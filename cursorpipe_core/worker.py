"""One agent process that serves ACP, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from cursorpipe_core.acp import AcpClient, AcpSession, Capabilities
from cursorpipe_core.bounds import bounded
from cursorpipe_core.config import AgentSettings
from cursorpipe_core.errors import AgentCrashError, AuthenticationError, CursorpipeError, SessionError
from cursorpipe_core.habitat import Habitat, habitat
from cursorpipe_core.outcome import judge_exit
from cursorpipe_core.process import ChildProcess
from cursorpipe_core.sessions import SessionDispenser
from cursorpipe_core.turn import Turn
from cursorpipe_core.version import __version__

logger = logging.getLogger(__name__)

#: Seconds `session/new` may take; up to 8 have been seen under load (CLI contract §6, §8.7).
SESSION_TIMEOUT_S = 30.0
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

    def __init__(self, settings: AgentSettings, *, stock: int) -> None:
        self._settings = settings
        self._stock = stock
        self._stack = AsyncExitStack()
        self._output_ended = asyncio.Event()
        self._end: asyncio.Future[CursorpipeError] = asyncio.get_running_loop().create_future()
        self._idle = asyncio.Event()
        self._idle.set()
        self._place: Habitat
        self._child: ChildProcess
        self._client: AcpClient
        self._dispenser: SessionDispenser
        self._capabilities: Capabilities
        self._pid: int | None = None
        self._in_flight = 0
        self._cancelled: dict[str, asyncio.TimerHandle] = {}
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

    async def begin(self, prompt: str, turn: Turn) -> None:
        """Begin a turn in an unused session; its events, and its failure if any, go to ``turn``.

        Raises what keeps a session from being opened. Cancelled before that, it leaves nothing behind.
        """
        self._in_flight += 1
        self._idle.clear()
        try:
            session_id = await self._dispenser.take()
        except BaseException:
            self._leave()
            raise
        if turn.ended:  # its time ran out while the session was opened
            self._end_turn(session_id)
            return
        turn.on_abandoned = lambda: self._abandon(session_id)
        self._client.prompt(session_id, prompt, turn, on_end=lambda: self._end_turn(session_id))

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
        self._place = await enter(habitat(self._settings))
        command = (*self._settings.command(), *self._settings.model_arguments(None), "acp")
        self._child = ChildProcess(
            command, env=self._place.env, cwd=self._place.cwd, on_stdout=self._on_output
        )
        self._pid = self._child.pid
        self._stack.push_async_callback(self._child.stop, polite=POLITE_EXIT_S, grace=SIGTERM_GRACE_S)
        self._client = AcpClient(
            self._child.write, permissions=self._settings.permissions, client_version=__version__
        )
        watch = asyncio.create_task(self._watch(), name=f"watch {self._pid}")
        self._stack.push_async_callback(_end_task, watch)
        self._capabilities = await self._client.initialize()
        self._dispenser = await self._sign_in(SessionDispenser(self._open_session, stock=self._stock))

    async def _sign_in(self, dispenser: SessionDispenser) -> SessionDispenser:
        """Make the first session, with `authenticate` before it where that is right (CLI contract §4.2).

        A stored login wants it. With a key it is left out, because it may start a browser's login; should
        the agent refuse a session all the same, it is sent then, once.
        """
        methods = self._capabilities.auth_methods
        if CURSOR_LOGIN in methods and not self._settings.has_credentials:
            await self._client.authenticate(CURSOR_LOGIN)
            return await self._stack.enter_async_context(dispenser)
        try:
            return await self._stack.enter_async_context(dispenser)
        except AuthenticationError:
            if not methods:
                raise
        await self._client.authenticate(methods[0])
        return await self._stack.enter_async_context(dispenser)

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
            reason = judge_exit(status, self._child.stderr_tail(), self._settings.redact)
        self._retire(reason)
        self._client.close(reason)

    def _on_output(self, data: bytes) -> None:
        if not data:
            self._output_ended.set()
            return
        try:
            self._client.feed(data)
        except AgentCrashError as exc:
            self._retire(exc)
            self._client.close(exc)

    async def _open_session(self) -> str:
        try:
            session = await self._try_session()
        except SessionError:
            # "Failed to initialize session services" passes (CLI contract §4.3).
            session = await self._try_session()
        mode = self._settings.mode
        if mode in session.modes:
            try:
                async with bounded("session mode", SESSION_TIMEOUT_S):
                    await self._client.set_mode(session.id, mode)
            except SessionError as exc:
                self._note(f"The agent refused the mode '{mode}': {exc}")
        else:
            self._note(f"The agent does not offer the mode '{mode}'; it works in its own default.")
        return session.id

    async def _try_session(self) -> AcpSession:
        async with bounded("session start", SESSION_TIMEOUT_S):
            return await self._client.new_session(self._place.cwd)

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)
            logger.warning("worker %s: %s", self._pid, note)

    def _abandon(self, session_id: str) -> None:
        """Stop a turn whose reader has left; the agent's answer to the prompt confirms it."""
        self._client.cancel(session_id)
        self._cancelled[session_id] = asyncio.get_running_loop().call_later(
            CANCEL_TIMEOUT_S, self._retire, AgentCrashError("The agent did not stop a cancelled turn.")
        )

    def _end_turn(self, session_id: str) -> None:
        timer = self._cancelled.pop(session_id, None)
        if timer is not None:
            timer.cancel()
        if self._capabilities.close_session:
            self._client.close_session(session_id)
        self._leave()

    def _leave(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()

    def _retire(self, reason: CursorpipeError) -> None:
        if not self._end.done():
            self._end.set_result(reason)


async def _end_task(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
