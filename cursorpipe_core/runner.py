"""One `agent --print` process per request, for a request that pins a model."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Self

from cursorpipe_core.completion import FinishReason, Image, ToolEvent, Usage, well_formed
from cursorpipe_core.config import AgentSettings, Permissions
from cursorpipe_core.errors import AgentCrashError, CursorpipeError, SessionError
from cursorpipe_core.habitat import Habitat, habitat
from cursorpipe_core.instance import Instance
from cursorpipe_core.jsonrpc import Json, LineSplitter, decode
from cursorpipe_core.line import WaitingLine
from cursorpipe_core.outcome import classify, judge_exit
from cursorpipe_core.process import ChildProcess, plain_text
from cursorpipe_core.prompt import Prompt
from cursorpipe_core.turn import Dialogue, Turn

logger = logging.getLogger(__name__)

#: Seconds a process may linger after its result, to put its chat away, before it is told to go.
LINGER_S = 2.0
#: Seconds between SIGTERM and SIGKILL.
SIGTERM_GRACE_S = 2.0
#: Characters kept of what is printed on stdout but is not an event: a complaint, most likely.
MAX_COMPLAINT = 4096
#: What can be the id of a chat, which goes onto a command line.
_CHAT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


class SubprocessRunner:
    """Runs the CLI in print mode, one process a turn; a task of its own sees each to its end.

    Leaving stops what still runs, all together, each within the bounds of its own stop.
    """

    def __init__(
        self, settings: AgentSettings, instance: Instance, *, max_processes: int, max_waiting: int
    ) -> None:
        self._settings = settings
        self._instance = instance
        self._max_processes = max_processes
        self._taken = 0
        self._line: WaitingLine[bool] = WaitingLine(max_waiting=max_waiting, give_back=self._release)
        self._runs: dict[asyncio.Task[None], _Chat] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Told, not cancelled: each is to take its process and its directories along.
        for chat in self._runs.values():
            chat.stop()
        await asyncio.gather(*self._runs, return_exceptions=True)

    @property
    def in_flight(self) -> int:
        """How many processes there are, those included that are being stopped."""
        return len(self._runs)

    @property
    def waiting(self) -> int:
        """How many requests wait for a process to end."""
        return self._line.waiting

    def adopt(self, settings: AgentSettings, *, max_processes: int, max_waiting: int) -> None:
        """Go on with other settings and limits; what runs and who waits stays."""
        self._settings = settings
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
        chat = _Chat(keep=keep)
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
            async with habitat(self._settings, self._instance) as place:
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
            place.on_started(child.pid)
            turn.begin()
            child.write(prompt.text.encode())
            child.close_stdin()
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

    def __init__(self, *, keep: bool) -> None:
        self.id: str | None = None
        self.over = asyncio.Event()
        self._keep = keep
        self._stopped = False
        self._waiting: tuple[Prompt, Turn] | None = None
        self._changed = asyncio.Event()

    def go_on(self, prompt: Prompt, turn: Turn) -> None:
        turn.on_abandoned = self.stop
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


class StreamReader:
    """Turns the lines of stream-json into the events of a turn (CLI contract §5.2, §5.3).

    Text comes up to three times: as deltas, again before a tool call, and again at the end. Which of
    them an event is, its own fields say. ``over`` is set at the result, or at the end of the output.
    """

    def __init__(self, turn: Turn, over: asyncio.Event) -> None:
        self._turn = turn
        self._over = over
        self._splitter = LineSplitter()
        self._shown: list[str] = []
        self._deltas_seen = False
        self._restarted = False
        self.complaint = ""
        self.chat_id: str | None = None
        self.ended = False

    def feed(self, data: bytes) -> None:
        """Take bytes of stdout; ``b""`` is their end."""
        try:
            lines = self._splitter.feed(data) if data else [self._splitter.rest()]
        except AgentCrashError as exc:
            self._turn.fail(exc)
            self._over.set()
            return
        for line in lines:
            event = decode(line)
            if isinstance(event, dict):
                self._take(event)
            elif len(self.complaint) < MAX_COMPLAINT:
                self.complaint += plain_text(line[:MAX_COMPLAINT]) + "\n"
        if not data:
            self.ended = True
            self._over.set()

    def _take(self, event: dict[str, Json]) -> None:
        kind = event.get("type")
        if kind == "assistant":
            self._take_text(event)
        elif kind == "thinking":
            if event.get("subtype") == "delta" and isinstance(text := event.get("text"), str):
                self._turn.thought(text)
        elif kind == "tool_call":
            names = event.get("tool_call")
            title = next(iter(names), "") if isinstance(names, dict) else ""
            self._turn.tool(ToolEvent(str(event.get("call_id")), title, str(event.get("subtype"))))
        elif kind == "retry":
            self._restarted = bool(self._shown)
        elif kind == "result":
            self._take_result(event)

    def _take_text(self, event: dict[str, Json]) -> None:
        is_delta = "timestamp_ms" in event and "model_call_id" not in event
        if is_delta:
            self._deltas_seen = True
        elif self._deltas_seen:
            return  # a repeat, before a tool call or at the end
        self._show(_message_text(event))

    def _take_result(self, event: dict[str, Json]) -> None:
        result = event.get("result")
        result = result if isinstance(result, str) else ""
        if event.get("is_error") is True:
            self._turn.fail(classify(result))
        else:
            self._compare(result)
            chat_id = event.get("session_id")
            self.chat_id = chat_id if isinstance(chat_id, str) and _CHAT_ID.fullmatch(chat_id) else None
            self._turn.finish(FinishReason.STOP, _usage(event.get("usage")))
        self.ended = True
        self._over.set()

    def _compare(self, result: str) -> None:
        """Hold the text that was shown against the result, and mend what can be mended."""
        # A character may have come in two halves.
        shown = well_formed("".join(self._shown))
        if shown == result or not result:
            return
        if result.startswith(shown):
            self._show(result[len(shown) :])
        elif self._restarted:
            self._turn.fail(SessionError("The agent began its answer anew after a part of it was sent."))
        else:
            logger.warning(
                "the result differs from the deltas: %d and %d characters", len(result), len(shown)
            )

    def _show(self, text: str) -> None:
        if text:
            self._shown.append(text)
            self._turn.text(text)


async def _put_down(images: Sequence[Image], own: Path) -> list[str]:
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


def _message_text(event: dict[str, Json]) -> str:
    message = event.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    return "".join(
        part["text"]
        for part in (content if isinstance(content, list) else ())
        if isinstance(part, dict) and isinstance(part.get("text"), str)
    )


def _usage(reported: Json) -> Usage | None:
    """Read `result.usage`, whose input tokens do not include the cached ones (CLI contract §5.2)."""
    if not isinstance(reported, dict):
        return None
    names = ("inputTokens", "cacheReadTokens", "cacheWriteTokens", "outputTokens")
    counts = [count if isinstance(count := reported.get(name), int) else 0 for name in names]
    sent, cached, written, received = counts
    return Usage(sent + cached + written, received, cached) if any(counts) else None
