"""The calls of tools in a turn of ACP: announced, asked for, made, and what came of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cursorpipe_core.demo_agent.peer import Question
from cursorpipe_core.demo_agent.pending import Pending
from cursorpipe_core.demo_agent.shapes import SHAPES, Shown
from cursorpipe_core.demo_agent.tool_plan import Call, Result
from cursorpipe_core.demo_agent.tool_server import ToolServer
from cursorpipe_core.demo_agent.toolbox import Offer, Toolbox

if TYPE_CHECKING:
    from cursorpipe_core.demo_agent.session import AcpStage

Json = dict[str, Any]

_REFUSED = "The user has rejected this call."
_TOO_LATE = "MCP error -32001: Request timed out"

#: The agent's own tool with which it finds others.
_SEARCH = "call_mcp_search"


class Use:
    """One call on its way: how it is shown, if at all, where it goes, what became of it."""

    def __init__(self, call: Call, offer: Offer | None, shown: Shown) -> None:
        self.call = call
        self.offer = offer
        self.shown = shown
        self.is_shown = False
        self.result = Result("", failed=True)


class ToolCalls:
    """Makes the calls that the model wants, in the way of the agent that the habits describe."""

    def __init__(self, turn: AcpStage, toolbox: Toolbox) -> None:
        self._turn = turn
        self._toolbox = toolbox
        self._habits = toolbox.habits
        self._shape = SHAPES[toolbox.habits.shape]
        self._record = turn.process.record
        self._searched = False

    def make(self, calls: Sequence[Call], say: Callable[[], None]) -> list[Result]:
        """Make calls as one step of the model, which says something first."""
        habits = self._habits
        uses = [self._use(call) for call in calls]
        late = habits.late_text is not None and not any(map(self._asks, uses))

        def introduce() -> None:
            say()
            if habits.announce == "all":
                self._announce(uses)

        if habits.deferred and not self._searched:
            self._search([call.name for call in calls])
        if not late:
            introduce()
        for position, group in enumerate([uses] if self._together(uses) else [[use] for use in uses]):
            self._run(group, introduce if late and position == 0 else None)
        return [use.result for use in uses]

    def _use(self, call: Call) -> Use:
        offer = self._find(call)
        server, tool = (offer.server.name, str(offer.tool["name"])) if offer else ("", call.name)
        arguments = {**call.arguments, **({"wait_for_previous": True} if self._habits.extra_argument else {})}
        return Use(call, offer, Shown(self._shape.new_id(), server, tool, arguments))

    def _find(self, call: Call) -> Offer | None:
        """Return where a call goes to; a name that is not offered goes to a server all the same."""
        offers = self._toolbox.offers()
        if self._habits.by_name and call.name not in self._turn.question:
            return None
        if call.at is not None:
            return offers[call.at] if call.at < len(offers) else None
        for offer in offers:
            if offer.tool.get("name") == call.name:
                return offer
        connected = [server for server in self._toolbox.servers if server.connected]
        return Offer(connected[0], {"name": call.name}) if connected else None

    def _together(self, uses: list[Use]) -> bool:
        calls = self._habits.calls
        return calls == "together" or (
            calls == "readers" and all(use.offer is not None and use.offer.reads_only for use in uses)
        )

    def _asks(self, use: Use) -> bool:
        ask = self._habits.ask
        return use.offer is not None and (
            (ask == "always" and self._turn.asks) or (ask == "writers" and not use.offer.reads_only)
        )

    def _run(self, group: list[Use], introduce: Callable[[], None] | None) -> None:
        """Make calls side by side, in order, and wait for all of them."""
        running = group if self._habits.announce == "running" else []
        if introduce is None:
            self._announce(running)
        begun = [(use, server, self._begin(use, server)) for use, server in self._allowed(group)]
        try:
            if introduce is not None:
                self._turn.pause((self._habits.late_text or 0) / 1000)
                introduce()
                self._announce(running)
        finally:
            # Even of a cancelled turn: the servers are to be told.
            self._end_all(begun)
        self._turn.check_cancelled()
        if self._habits.hang_when_lost and any(pending.lost for _, _, pending in begun):
            self._turn.stay_silent()

    def _allowed(self, group: list[Use]) -> list[tuple[Use, ToolServer]]:
        """Ask for those calls that want a permission; returns the calls to be made, and where."""
        questions = {use.shown.id: self._ask(use) for use in group if self._asks(use)}
        allowed = []
        for use in group:
            question = questions.get(use.shown.id)
            if use.offer is None:
                use.result = Result(f"There is no tool {use.call.name}.", failed=True)
                self._progress(use, "failed")
            elif question is None or self._turn.decide(question, self._shape.options).startswith("allow"):
                allowed.append((use, use.offer.server))
            else:
                use.result = Result(_REFUSED, failed=True)
                self._record.add("mcp-rejected", session=self._turn.session.id, name=use.shown.tool)
                self._progress(use, self._shape.refused)
        return allowed

    def _ask(self, use: Use) -> Question:
        use.is_shown = True
        params = {"sessionId": self._turn.session.id, **self._shape.question(use.shown)}
        return self._turn.peer.ask("session/request_permission", params)

    def _begin(self, use: Use, server: ToolServer) -> Pending:
        self._progress(use, "in_progress")
        return server.call(use.shown.tool, use.shown.arguments, self._shape.call_meta(use.shown.id))

    def _end_all(self, begun: list[tuple[Use, ToolServer, Pending]]) -> None:
        ends = [threading.Thread(target=self._end, args=each) for each in begun]
        for thread in ends:
            thread.start()
        for thread in ends:
            thread.join()

    def _end(self, use: Use, server: ToolServer, pending: Pending) -> None:
        """Wait for a call's result; the server is told if nobody waits any longer."""
        habits = self._habits
        with self._turn.interruptible(pending.settled):
            in_time = pending.wait(habits.limit, habits.idle_limit)
        if pending.ended:
            use.result = _result(pending)
            if habits.cancel_answered and pending.reply is not None:
                server.leave(pending, "cancelled", "cleaning up")
        elif in_time:
            server.leave(pending, habits.cancel, "the user has cancelled the turn")
            return
        else:
            server.leave(pending, habits.at_limit, _TOO_LATE)
            use.result = Result(_TOO_LATE, failed=True)
        self._record.add(
            "mcp-result",
            session=self._turn.session.id,
            server=server.name,
            name=use.shown.tool,
            text=use.result.text,
            isError=use.result.failed,
            seconds=round(time.monotonic() - pending.began, 3),
        )
        self._progress(use, "failed" if use.result.failed else "completed")

    def _announce(self, uses: list[Use]) -> None:
        for use in uses:
            use.is_shown = True
            self._turn.update(self._shape.announcement(use.shown))

    def _progress(self, use: Use, status: str) -> None:
        if use.is_shown:
            update = {"sessionUpdate": "tool_call_update", "toolCallId": use.shown.id, "status": status}
            self._turn.update(update)

    def _search(self, names: list[str]) -> None:
        self._searched = True
        search = {
            "title": "Search tools",
            "kind": "search",
            "status": "pending",
            "rawInput": {"names": names},
        }
        self._turn.update({"sessionUpdate": "tool_call", "toolCallId": _SEARCH, **search})
        self._turn.update({"sessionUpdate": "tool_call_update", "toolCallId": _SEARCH, "status": "completed"})


def _result(pending: Pending) -> Result:
    """Return what the model is told of a reply, or of the want of one."""
    if pending.reply is None:
        return Result(f"MCP error -32000: {pending.lost}", failed=True)
    result = pending.reply.get("result")
    if not isinstance(result, dict):
        error = pending.reply.get("error") or {}
        return Result(f"MCP error {error.get('code')}: {error.get('message')}", failed=True)
    texts = [
        str(item.get("text", "")) if item.get("type") == "text" else f"[{item.get('type')}]"
        for item in result.get("content") or ()
    ]
    return Result("\n".join(texts), failed=result.get("isError") is True)
