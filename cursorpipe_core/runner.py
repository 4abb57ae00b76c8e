"""One `agent --print` process per request, for a request that pins a model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Self

from cursorpipe_core.completion import Image
from cursorpipe_core.config import AgentSettings, Permissions
from cursorpipe_core.counts import BackendCounts
from cursorpipe_core.errors import (
    AgentCrashError,
    AgentError,
    AgentNotFoundError,
    AgentTimeoutError,
    AuthenticationError,
    CursorpipeError,
    NetworkError,
    SessionError,
)
from cursorpipe_core.habitat import Habitat
from cursorpipe_core.instance import Instance
from cursorpipe_core.line import WaitingLine
from cursorpipe_core.outcome import judge_exit
from cursorpipe_core.places import Places
from cursorpipe_core.process import ChildProcess
from cursorpipe_core.prompt import Prompt
from cursorpipe_core.stream_json import StreamReader
from cursorpipe_core.turn import Dialogue, Turn

#: Seconds a process may linger after its result, to put its chat away, before it is told to go.
LINGER_S = 2.0
#: Seconds between SIGTERM and SIGKILL.
SIGTERM_GRACE_S = 2.0
#: Seconds for which one such failure counts against print mode; as often a tripped worker is tried.
DOUBT_S = 30.0
#: Failures of one request that the next one is likely to share.
_OF_ALL_PROCESSES = (
    AgentCrashError,
    AgentNotFoundError,
    AgentTimeoutError,
    AuthenticationError,
    NetworkError,
    SessionError,
)


class SubprocessRunner:
    """Runs the CLI in print mode, one process a turn; a task of its own sees each to its end.

    Leaving stops what still runs, all together, each within the bounds of its own stop.
    """

    def __init__(
        self,
        settings: AgentSettings,
        instance: Instance,
        counts: BackendCounts,
        *,
        max_processes: int,
        max_waiting: int,
    ) -> None:
        self._settings = settings
        self._counts = counts
        self._places = Places(settings, instance)
        self._stack = AsyncExitStack()
        self._max_processes = max_processes
        self._taken = 0
        self._line: WaitingLine[bool] = WaitingLine(
            max_waiting=max_waiting, give_back=self._release, waits=counts.waits
        )
        self._runs: dict[asyncio.Task[None], _Chat] = {}
        self._doubted_at: float | None = None

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._places)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Told, not cancelled: each is to take its process and its directories along.
        for chat in self._runs.values():
            chat.stop()
        await asyncio.gather(*self._runs, return_exceptions=True)
        await self._stack.aclose()

    @property
    def in_flight(self) -> int:
        """How many processes there are, those included that are being stopped."""
        return len(self._runs)

    @property
    def waiting(self) -> int:
        """How many requests wait for a process to end."""
        return self._line.waiting

    @property
    def trusted(self) -> bool:
        """Whether print mode answers, as far as is known: the last request that it failed is long ago."""
        return self._doubted_at is None or time.monotonic() - self._doubted_at >= DOUBT_S

    def trust(self) -> None:
        """Take note that a process has begun to answer."""
        self._doubted_at = None

    def doubt(self, failure: AgentError) -> None:
        """Take note of what a request failed of before any process had begun to answer it."""
        if isinstance(failure, _OF_ALL_PROCESSES):
            self._doubted_at = time.monotonic()

    def adopt(self, settings: AgentSettings, *, max_processes: int, max_waiting: int) -> None:
        """Go on with other settings and limits; what runs and who waits stays."""
        self._settings = settings
        self._places.adopt(settings)
        self._max_processes = max_processes
        self._line.max_waiting = max_waiting
        self._line.wake()

    async def begin(
        self,
        model: str | None,
        prompt: Prompt,
        turn: Turn,
        *,
        client: str,
        timeout_s: float,
        keep: bool = False,
    ) -> Dialogue:
        """Begin a turn with ``model`` (None: Cursor picks); all that happens goes to ``turn``.

        Waits in the line of ``client`` while there are as many processes as there may be; raises what
        the line raises. With ``keep`` the chat stays open for other turns until the dialogue is closed.
        """
        await self._line.acquire(client, self._take, timeout_s)
        chat = _Chat(self._counts, keep=keep)
        chat.go_on(prompt, turn)
        run = asyncio.create_task(self._run(model, chat), name="print mode")
        self._runs[run] = chat
        run.add_done_callback(self._end)
        return chat

    def _take(self) -> bool | None:
        if self._taken >= self._max_processes:
            return None
        self._taken += 1
        return True

    def _release(self, taken: bool = True) -> None:
        self._taken -= taken
        self._line.wake()

    def _end(self, run: asyncio.Task[None]) -> None:
        del self._runs[run]
        self._release()

    async def _run(self, model: str | None, chat: _Chat) -> None:
        """Run a process for each turn of a chat, one after the other in the same place."""
        try:
            place = self._places.take()
            try:
                while (begun := await chat.next_turn()) is not None:
                    prompt, turn = begun
                    try:
                        await self._run_turn(place, model, chat, prompt, turn)
                    except CursorpipeError as exc:
                        turn.fail(exc)
                    finally:
                        turn.fail(AgentCrashError("The agent was stopped."))
                    if chat.id is None:
                        break  # another process could not go on with it
            finally:
                self._places.leave(place)
        except CursorpipeError as exc:
            chat.fail(exc)
        finally:
            chat.fail(AgentCrashError("The agent was stopped."))

    async def _run_turn(
        self, place: Habitat, model: str | None, chat: _Chat, prompt: Prompt, turn: Turn
    ) -> None:
        reader = StreamReader(turn, chat.over)
        command = self._command(model, place.cwd, chat.id, await _put_down(prompt.images, place.own))
        child = ChildProcess(command, env=place.env, cwd=place.cwd, on_stdout=reader.feed)
        try:
            self._counts.started += 1
            place.on_started(child.pid)
            turn.begin()
            child.write(prompt.text.encode())
            child.close_stdin()
            self._places.prepare()
            await chat.over.wait()
        finally:
            # After its end, in whichever way, the process gets a moment to leave by itself; a turn that
            # nobody reads any more is stopped at once.
            await child.stop(polite=LINGER_S if reader.ended else 0, grace=SIGTERM_GRACE_S)
        chat.id = reader.chat_id
        if not turn.ended and child.returncode is not None:
            complaint = f"{reader.complaint}\n{child.stderr_tail()}"
            turn.fail(judge_exit(child.returncode, complaint, self._settings.redact))

    def _command(
        self, model: str | None, workspace: str, chat_id: str | None, images: Sequence[str]
    ) -> tuple[str, ...]:
        """Return the command line (CLI contract §5.1). The prompt is not in it: stdin has no limit."""
        return (
            *self._settings.command(),
            "-p",
            *("--output-format", "stream-json", "--stream-partial-output"),
            "--trust",
            *("--mode", self._settings.mode),
            *(("--force",) if self._settings.permissions is Permissions.ALLOW else ()),
            *self._settings.model_arguments(model),
            *("--workspace", workspace),
            *(("--resume", chat_id) if chat_id else ()),
            *(argument for path in images for argument in ("--image", path)),
        )


class _Chat:
    """A chat of print mode in the hands of one request; ``id`` is known once a turn has told it.

    ``over`` is set when the process of the turn that runs has no more to do.
    """

    def __init__(self, counts: BackendCounts, *, keep: bool) -> None:
        self._counts = counts
        self.id: str | None = None
        self.over = asyncio.Event()
        self._keep = keep
        self._stopped = False
        self._waiting: tuple[Prompt, Turn] | None = None
        self._changed = asyncio.Event()

    def go_on(self, prompt: Prompt, turn: Turn) -> None:
        turn.on_abandoned = self._abandon
        self._waiting = (prompt, turn)
        if self._stopped:
            self.fail(AgentCrashError("The agent was stopped."))
        self._changed.set()

    def close(self) -> None:
        self._keep = False
        self._changed.set()

    def stop(self) -> None:
        """End the turn that runs, and the chat."""
        self._stopped = True
        self.over.set()
        self.close()

    def _abandon(self) -> None:
        self._counts.cancelled += 1
        self.stop()

    def fail(self, error: CursorpipeError) -> None:
        """Tell a turn that will not be begun any more why."""
        self._stopped = True
        if self._waiting is not None:
            _, turn = self._waiting
            self._waiting = None
            turn.fail(error)

    async def next_turn(self) -> tuple[Prompt, Turn] | None:
        """Wait for a turn to begin; None once there will be none."""
        while not self._stopped:
            if self._waiting is not None:
                begun, self._waiting = self._waiting, None
                self.over.clear()
                return begun
            if not self._keep:
                return None
            self._changed.clear()
            await self._changed.wait()
        return None


async def _put_down(images: Sequence[Image], own: str) -> list[str]:
    """Write the images to files that only the agent is given; raises AgentCrashError if that cannot be."""

    def write() -> list[str]:
        paths = []
        for image in images:
            kind = image.mime.partition("/")[2]
            with NamedTemporaryFile(dir=own, prefix="image-", suffix=f".{kind}", delete=False) as file:
                file.write(image.data)
                paths.append(file.name)
        return paths

    if not images:
        return []
    try:
        return await asyncio.to_thread(write)
    except OSError as exc:
        raise AgentCrashError(f"An image cannot be put down for the agent: {exc.strerror}.") from exc
