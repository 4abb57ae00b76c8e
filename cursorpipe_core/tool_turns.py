"""Begins, parks and resumes the turns whose callers have tools."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict, dataclass
from functools import partial
from types import TracebackType
from typing import Self

from cursorpipe_core.arguments import ArgumentsCheck
from cursorpipe_core.attempt import Attempt
from cursorpipe_core.call_ids import turn_key
from cursorpipe_core.channel_probe import ChannelProbe
from cursorpipe_core.channels import Channel, Channels
from cursorpipe_core.completion import (
    Calls,
    CompletionEvent,
    CompletionRequest,
    Role,
    ToolUse,
    ToolWay,
)
from cursorpipe_core.config import AgentSettings, SupervisorSettings, ToolChecks
from cursorpipe_core.description import AgentDescription
from cursorpipe_core.endpoint import ToolBridge
from cursorpipe_core.errors import (
    AgentCrashError,
    AgentError,
    NetworkError,
    SessionError,
    ToolChoiceError,
    ToolsUnavailableError,
)
from cursorpipe_core.grouping import Grouping
from cursorpipe_core.parked import ParkedTurns
from cursorpipe_core.prompt import Prompt
from cursorpipe_core.snapshot import ToolsSnapshot
from cursorpipe_core.tool_notes import CALL_ONE, open_results
from cursorpipe_core.tool_sessions import ToolSessions
from cursorpipe_core.tool_turn import SupersededError, ToolTurn
from cursorpipe_core.turn import Turn
from cursorpipe_core.worker import AgentWorker

logger = logging.getLogger(__name__)

#: How a turn that has waited for its results ends before it goes on, if its agent is gone by then.
_TURN_IS_GONE = (AgentCrashError, SessionError, NetworkError)


@dataclass(slots=True)
class ToolCounts:
    """What became of requests with tools: calls and groups of them, and how turns came to be answered."""

    calls: int = 0
    groups: int = 0
    new: int = 0
    resumed: int = 0
    rebuilt: int = 0

    def began(self, way: ToolWay) -> None:
        """Count a part that has begun."""
        setattr(self, way, getattr(self, way) + 1)


class ToolTurns:
    """The turns of all callers that have tools; those that wait for results wait here.

    Entering looks, in the background, for the way in which agents come to tools; leaving ends every turn.
    """

    def __init__(
        self,
        bridge: ToolBridge,
        *,
        agent: AgentSettings,
        settings: SupervisorSettings,
        any_worker: Callable[[], Awaitable[AgentWorker]],
        describe: Callable[[], Awaitable[AgentDescription]],
    ) -> None:
        """Use ``bridge`` to be reached by agents; the last two are for ``ChannelProbe``."""
        self._strict_only = settings.tool_checks is ToolChecks.STRICT
        self._grouping = Grouping()
        self._channels = Channels(may_approve=agent.private_config, may_write=not agent.workspace)
        self._sessions = ToolSessions(bridge, self._channels)
        self._parked: ParkedTurns[ToolTurn] = ParkedTurns(
            self.end,
            timeout_s=settings.tool_park_timeout_s,
            most=settings.tool_park_max,
            most_per_owner=settings.tool_park_max_per_client,
        )
        self._running: dict[str, tuple[ToolTurn, str]] = {}
        self._counts = ToolCounts()
        self._stack = AsyncExitStack()
        self._probe = ChannelProbe(
            self._channels,
            self._sessions,
            state_dir=agent.state_dir,
            any_worker=any_worker,
            describe=describe,
        )

    async def __aenter__(self) -> Self:
        self._stack.push_async_callback(self._sessions.close)
        self._stack.callback(self._parked.close)
        await self._stack.enter_async_context(self._probe)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def snapshot(self) -> ToolsSnapshot:
        """Describe how callers' tools fare."""
        counts, parked = self._counts, self._parked.counts
        channels = self._channels
        return ToolsSnapshot(
            channel=None if channels.exhausted else str(channels.current),
            proven=channels.proven,
            parked=len(self._parked),
            expired=parked.expired,
            died=parked.died,
            refused=parked.refused,
            **asdict(counts),
        )

    def find(self, request: CompletionRequest) -> ToolTurn | None:
        """Return the turn that waits for the results that a request ends with, if it is there."""
        results = open_results(request.messages)
        keys = {turn_key(call_id) for call_id in results}
        key = keys.pop() if len(keys) == 1 else None
        if key is None:
            return None
        running, owner = self._running.get(key, (None, ""))
        if running is not None and owner == request.owner:
            # The same results once more: whoever sent them waits for the first answer no longer.
            running.supersede()
        turn = self._parked.find(key, request.owner)
        if turn is None:
            return None
        use = request.tool_use
        if (
            use is None
            or use.tools.digest != turn.tools.digest
            or set(turn.handed_out) != set(results)
            or request.messages[-1].role is not Role.TOOL
        ):
            # The conversation goes on in another way than this turn could.
            self._parked.drop(key)
            return None
        return self._parked.take(key, request.owner)

    def let_go(self, request: CompletionRequest) -> None:
        """End the turn that waits for the results in a request that goes on without tools."""
        for key in {turn_key(call_id) for call_id in open_results(request.messages)}:
            if key is not None and self._parked.find(key, request.owner) is not None:
                self._parked.drop(key)

    async def begin(self, attempt: Attempt, use: ToolUse, channel: Channel) -> ToolTurn:
        """Begin a turn on the attempt's worker, where it has a place; raises what keeps it from beginning."""
        worker = attempt.worker
        assert worker is not None  # noqa: S101 — whoever calls this has leased one
        try:
            session = await self._sessions.open(worker, use.tools, channel)
        except BaseException:
            worker.release()
            raise
        turn = attempt.turn(attempt.prompt)
        tool_turn = ToolTurn(
            session.endpoint,
            turn,
            grouping=self._grouping,
            check=ArgumentsCheck(strict_only=self._strict_only),
            parallel=use.parallel,
        )
        try:
            tool_turn.begun(worker.begin_in(session.id, attempt.prompt, turn))
        except BaseException:
            self.end(tool_turn)
            raise
        tool_turn.on_rest = partial(self._sessions.prepare, worker, use.tools, channel)
        return tool_turn

    async def complete(
        self,
        attempt: Attempt,
        request: CompletionRequest,
        use: ToolUse,
        *,
        lease: Callable[[Attempt], Awaitable[AgentWorker]],
        may_retry: Callable[[Attempt, AgentError], bool],
    ) -> AsyncGenerator[list[CompletionEvent], None]:
        """Yield the events of one part of a turn, up to its calls or its end.

        A turn that waits for the results in the request goes on; without one, or should its agent be gone
        by now, the conversation is begun anew with them in it, on a worker that ``lease`` gives. Raises
        ToolsUnavailableError when the agent takes its tools in no way.
        """
        turn = self.find(request)
        way = ToolWay.RESUMED
        if turn is not None:
            turn.resume(open_results(request.messages), left_s=attempt.seconds_left())
        while True:
            channel: Channel | None = None
            try:
                if turn is None:
                    way = ToolWay.REBUILT if open_results(request.messages) else ToolWay.NEW
                    self._parked.check_room(request.owner)
                    # Raises where there is no way left, for which no worker is needed.
                    channel = self._channels.current
                    channel = await self._way_by(attempt.placed(await lease(attempt)), attempt)
                    turn = await attempt.in_time(self.begin(attempt, use, channel))
                attempt.asked()
                async with aclosing(self._part(turn, attempt, request, use)) as batches:
                    async for batch in batches:
                        if not attempt.begun:
                            self._counts.began(way)
                            batch.insert(0, attempt.began(way))
                            if channel is not None:
                                self._channels.prove(channel)
                        yield batch
            except AgentError as exc:
                turn = None
                if isinstance(exc, ToolsUnavailableError) and channel is not None:
                    self._channels.fail(channel)
                    again = True
                elif isinstance(exc, SupersededError):
                    again = False
                else:
                    gone = way is ToolWay.RESUMED and isinstance(exc, _TURN_IS_GONE)
                    again = gone or may_retry(attempt, exc)
                if attempt.begun or not again:
                    raise exc.of_request(begun=attempt.begun) from exc
                logger.info("the turn is begun anew: %s", exc.plain)
            else:
                return

    async def _way_by(self, worker: AgentWorker, attempt: Attempt) -> Channel:
        """Return the way to take, once the look for it is over; if it raises, the place is given back."""
        try:
            await attempt.in_time(self._probe.wait())
            channel = self._channels.current
        except BaseException:
            worker.release()
            raise
        return channel

    async def _part(
        self, turn: ToolTurn, attempt: Attempt, request: CompletionRequest, use: ToolUse
    ) -> AsyncGenerator[list[CompletionEvent], None]:
        """Yield the events of one part; the turn is kept if it waits then, and has ended if not."""
        parts = parts_with_a_call(turn, attempt.turn) if use.required else turn.part()
        kept = False
        self._running[turn.key] = turn, request.owner
        try:
            async with aclosing(parts) as batches:
                async for batch in batches:
                    for event in batch:
                        if isinstance(event, Calls):
                            self._counts.groups += 1
                            self._counts.calls += len(event.calls)
                            kept = use.resumable
                            if kept:
                                # Before they are told: the results may be here at once.
                                del self._running[turn.key]
                                # Who forces a call often only wants its arguments.
                                self._parked.park(turn, request.owner, spare=use.required)
                    yield batch
        except BaseException:
            if not kept:
                self._running.pop(turn.key, None)
                self.end(turn)
            raise
        if not kept:
            self._running.pop(turn.key, None)
            self._ended(turn, attempt, called=turn.parked)

    def _ended(self, turn: ToolTurn, attempt: Attempt, *, called: bool) -> None:
        """Be done with a turn that has ended; its session is kept if its answer may have to be corrected."""
        if attempt.keep and not called:
            turn.take_no_calls()
            attempt.dialogue = _Kept(turn, self.end)
        else:
            self.end(turn)

    def end(self, turn: ToolTurn) -> None:
        """End a turn, with the server that its session was given."""
        turn.close()
        self._sessions.end(turn.endpoint)


class _Kept:
    """A turn with tools that has ended, whose session may have to answer once more."""

    def __init__(self, turn: ToolTurn, end: Callable[[ToolTurn], None]) -> None:
        self._turn = turn
        self._end = end

    def go_on(self, prompt: Prompt, turn: Turn) -> None:
        self._turn.go_on(prompt, turn)

    def close(self) -> None:
        self._end(self._turn)


async def parts_with_a_call(
    turn: ToolTurn, another: Callable[[Prompt], Turn]
) -> AsyncGenerator[list[CompletionEvent], None]:
    """Yield the events of a part that has to end with calls, and none before they are there.

    An agent that ends without is told so once, in the turn that ``another`` makes; raises ToolChoiceError.
    """
    for retry in (True, False):
        held: list[CompletionEvent] = []
        async with aclosing(turn.part()) as batches:
            async for batch in batches:
                held += batch
        if any(isinstance(event, Calls) for event in held):
            yield held
            return
        if retry:
            logger.info("the agent called no tool although it has to; it is told so")
            prompt = Prompt(CALL_ONE)
            turn.go_on(prompt, another(prompt))
    raise ToolChoiceError
