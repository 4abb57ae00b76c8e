"""A turn of an agent that calls tools of its caller's, and so outlives the request that it began with."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from cursorpipe_core.arguments import ArgumentsCheck
from cursorpipe_core.call_ids import new_call_id, new_turn_key
from cursorpipe_core.completion import Calls, CompletionEvent, Finish, FinishReason, ToolCall, ToolResult
from cursorpipe_core.endpoint import Endpoint, OpenCall
from cursorpipe_core.errors import SessionError, ToolRoundsError, ToolsUnavailableError
from cursorpipe_core.grouping import CallClock, Grouping
from cursorpipe_core.prompt import Prompt
from cursorpipe_core.tools import canonical_arguments
from cursorpipe_core.turn import ToolDialogue, Turn

logger = logging.getLogger(__name__)

#: Calls that are handed out together at most, and times that a turn may call.
MAX_GROUP = 32
MAX_GROUPS = 64
#: Seconds of one wait for an agent that says nothing; its clocks are the turn's own.
_LONG_S = 3600.0


class SupersededError(SessionError):
    """The results that a turn goes on from came once more, in a request that is answered instead."""


class ToolTurn:
    """One turn of an agent in a session that has its caller's tools at ``endpoint``.

    The agent's calls are handed out in groups, under ids of ours: the agents' own repeat. With a group the
    turn is parked: nobody reads it, its clocks stand still, and the agent waits until ``resume`` brings the
    results. ``on_dead`` is called once if the agent stops waiting before that, ``on_rest`` whenever it has
    nothing more to do.
    """

    def __init__(
        self, endpoint: Endpoint, turn: Turn, *, grouping: Grouping, check: ArgumentsCheck, parallel: bool
    ) -> None:
        self.key = new_turn_key()
        self.tools = endpoint.tools
        self.parked = False
        self.on_dead: Callable[[], None] = _nothing
        self.on_rest: Callable[[], None] = _nothing
        self._endpoint = endpoint
        self._turn = turn
        self._dialogue: ToolDialogue | None = None
        self._check = check
        self._most = MAX_GROUP if parallel else 1
        #: Calls as they come, those that are good, and those that are with the caller.
        self._arrived: deque[OpenCall] = deque()
        self._waiting: list[OpenCall] = []
        self._handed: dict[str, OpenCall] = {}
        self._groups = 0
        self._clock = CallClock(grouping)
        endpoint.on_call, endpoint.on_lost = self._take, self._lose

    @property
    def handed_out(self) -> Sequence[str]:
        """The ids of the calls whose results are waited for."""
        return list(self._handed)

    @property
    def endpoint(self) -> Endpoint:
        """Where the agent finds the tools."""
        return self._endpoint

    def begun(self, dialogue: ToolDialogue) -> None:
        """Take the session that the turn is in, to give it back with ``close``."""
        self._dialogue = dialogue

    def go_on(self, prompt: Prompt, turn: Turn) -> None:
        """Have the agent answer once more, in the same session, once it has ended."""
        self._turn = turn
        if self._dialogue is not None:
            self._dialogue.go_on(prompt, turn)

    async def part(self) -> AsyncGenerator[list[CompletionEvent], None]:
        """Yield what the agent says until it has called tools or has ended; raises what the turn fails with.

        A group of calls comes as Calls, a Usage and a Finish, and the turn is parked then. Raises
        ToolsUnavailableError if the agent goes ahead without having asked for the tools.
        """
        while True:
            await self._check_arrived()
            patience_s = self._clock.patience_s(len(self._turn.announced)) if self._waiting else _LONG_S
            if patience_s <= 0:
                break
            batch = await self._turn.read_within(patience_s)
            if batch is None:
                continue
            if not self._endpoint.listed.is_set():
                raise ToolsUnavailableError("an MCP server that it did not ask")
            if not batch:
                return
            self._clock.hear()
            yield batch
        if self._groups == MAX_GROUPS:
            raise ToolRoundsError(MAX_GROUPS)
        self._groups += 1
        calls = self._hand_out()
        self._clock.close(len(calls), len(self._turn.announced))
        usage = self._turn.usage_so_far()
        self._turn.pause()
        self.parked = True
        self._turn.on_ended = self._bury
        if self._dialogue is not None:
            self._dialogue.park()
        self.on_rest()
        yield [Calls(calls), usage, Finish(FinishReason.TOOL_CALLS)]

    def resume(self, results: Mapping[str, ToolResult], *, left_s: float) -> None:
        """Give the agent the results of all that was handed out; ``part`` yields what it makes of them."""
        self.parked = False
        self._turn.on_ended = _nothing
        if self._dialogue is not None:
            self._dialogue.unpark()
        self._turn.go_on(left_s=left_s, prompt_bytes=sum(result.size for result in results.values()))
        handed, self._handed = self._handed, {}
        self._clock.go_on()
        for call_id, call in handed.items():
            call.answer(results[call_id])

    def supersede(self) -> None:
        """End the turn for another request that goes on with its conversation."""
        self._turn.stop(SupersededError("Another request goes on with this conversation."))

    def take_no_calls(self) -> None:
        """Have every call refused from now on."""
        self._endpoint.take_no_calls()

    def close(self) -> None:
        """End the turn, and give its session back. Idempotent."""
        self.on_rest()
        self.on_dead = self.on_rest = self._turn.on_ended = _nothing
        self.parked = False
        self._endpoint.close("The turn was ended.")
        self._arrived.clear()
        self._waiting.clear()
        self._handed.clear()
        self._turn.close()
        if self._dialogue is not None:
            self._dialogue.close()

    async def _check_arrived(self) -> None:
        """Look at the calls that have come: those that are not as they should be are answered at once."""
        while self._arrived:
            call = self._arrived[0]
            good = await self._check.passes(call)
            if self._arrived and self._arrived[0] is call:  # else it was lost meanwhile
                self._arrived.popleft()
                if good:
                    self._waiting.append(call)

    def _hand_out(self) -> tuple[ToolCall, ...]:
        group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        calls = []
        for call in group:
            call_id = new_call_id(self.key)
            self._handed[call_id] = call
            calls.append(ToolCall(call_id, call.tool.name, canonical_arguments(call.tool, call.arguments)))
        return tuple(calls)

    def _take(self, call: OpenCall) -> None:
        self._clock.call(first=not (self._arrived or self._waiting), late=self.parked)
        self._arrived.append(call)
        self._turn.called()

    def _lose(self, call: OpenCall) -> None:
        """Take the news that the agent waits no longer for what a call gives."""
        if call in self._arrived:
            self._arrived.remove(call)
        elif call in self._waiting:
            self._waiting.remove(call)
        elif call in self._handed.values():
            # It goes on without the result: what it says from here on is of no use to anybody.
            self._bury()

    def _bury(self) -> None:
        if self.parked:
            logger.info("the agent no longer waits for the results of its calls")
            self.on_dead()


def _nothing() -> None:
    """Stand in for whoever has parked nothing."""
