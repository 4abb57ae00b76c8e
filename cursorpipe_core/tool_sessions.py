"""Sessions that have their caller's tools: opened when they are asked for, and one ahead where that helps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from cursorpipe_core.channels import Channel, Channels
from cursorpipe_core.endpoint import Endpoint, ToolBridge
from cursorpipe_core.errors import CursorpipeError
from cursorpipe_core.offers import Offer
from cursorpipe_core.tools import ToolSet
from cursorpipe_core.worker import AgentWorker

logger = logging.getLogger(__name__)

#: Seconds an agent may take to ask for other tools once it is told that there are others.
CHANGE_WITHIN_S = 1.5
#: Sessions with tools that are kept ahead for a worker, and seconds after which one is given back unused.
SPARES = 2
SPARE_FOR_S = 600.0


@dataclass(frozen=True, slots=True, eq=False)
class ToolSession:
    """A session of a worker, with the endpoint where its tools are."""

    worker: AgentWorker
    id: str
    endpoint: Endpoint


class ToolSessions:
    """Opens such sessions by the way that works, and keeps a few in stock for those who come again.

    A stock is kept by the tools that were used last, as a program repeats its own. Agents that ask again
    when they are told of other tools can take over any of it. Leaving gives all of it back.
    """

    def __init__(self, bridge: ToolBridge, channels: Channels) -> None:
        self._bridge = bridge
        self._channels = channels
        self._spares: dict[ToolSession, asyncio.TimerHandle] = {}
        self._making: dict[asyncio.Task[None], AgentWorker] = {}
        #: Whether the agent asks for tools anew; None until one has been told to.
        self._asks_again: bool | None = None

    async def close(self) -> None:
        """Give everything back."""
        for making in self._making:
            making.cancel()
        if self._making:
            await asyncio.wait(self._making)
        for spare in list(self._spares):
            self._give_back(spare)

    async def open(self, worker: AgentWorker, tools: ToolSet, channel: Channel) -> ToolSession:
        """Return a session of the worker with these tools; raises what ``AgentWorker.open_with`` raises."""
        self._forget_dead()
        return await self._spare(worker, tools) or await self._open(worker, tools, channel)

    def end(self, endpoint: Endpoint) -> None:
        """Make the tools of a session unreachable, which is over."""
        self._bridge.close(endpoint)

    def prepare(self, worker: AgentWorker, tools: ToolSet, channel: Channel) -> None:
        """Open a session ahead, behind the requests, if the worker has few."""
        mine = [spare for spare in self._spares if spare.worker is worker]
        making = sum(other is worker for other in self._making.values())
        if len(mine) + making < SPARES and self._channels.proven and worker.serves:
            task = asyncio.create_task(
                self._make_spare(worker, tools, channel), name="a session with tools, ahead"
            )
            self._making[task] = worker
            task.add_done_callback(self._making.pop)

    async def _spare(self, worker: AgentWorker, tools: ToolSet) -> ToolSession | None:
        mine = [spare for spare in self._spares if spare.worker is worker]
        same = next((spare for spare in mine if spare.endpoint.tools.digest == tools.digest), None)
        if same is not None:
            self._take(same)
            return same
        if not mine or self._asks_again is False:
            return None
        other = mine[0]
        self._take(other)
        other.endpoint.offer(tools)
        try:
            async with asyncio.timeout(CHANGE_WITHIN_S):
                await other.endpoint.listed.wait()
        except BaseException as exc:
            self._discard(other)
            if not isinstance(exc, TimeoutError):
                raise
            logger.info("the agent does not ask for tools anew; every session is opened with its own")
            self._asks_again = False
            return None
        self._asks_again = True
        return other

    async def _open(self, worker: AgentWorker, tools: ToolSet, channel: Channel) -> ToolSession:
        proven = self._channels.proven
        endpoint = Endpoint(tools)
        try:
            address = await self._bridge.open(endpoint, channel.transport)
            offer = Offer(endpoint, address, approve=channel.approve, by_file=channel.by_file)
            return ToolSession(worker, await worker.open_with(offer, wait=proven), endpoint)
        except BaseException:
            self._bridge.close(endpoint)
            raise

    async def try_channel(self, worker: AgentWorker, channel: Channel, timeout_s: float) -> bool:
        """Whether the worker asks a server for its tools that it is offered in this way."""
        endpoint = Endpoint(ToolSet())
        address = await self._bridge.open(endpoint, channel.transport)
        try:
            offer = Offer(endpoint, address, approve=channel.approve, by_file=channel.by_file)
            session_id = await worker.open_with(offer, wait=False)
            try:
                async with asyncio.timeout(timeout_s):
                    await endpoint.listed.wait()
            except TimeoutError:
                return False
            finally:
                worker.close_session(session_id)
        finally:
            self._bridge.close(endpoint)
        return True

    async def _make_spare(self, worker: AgentWorker, tools: ToolSet, channel: Channel) -> None:
        try:
            session = await self._open(worker, tools, channel)
        except CursorpipeError as exc:
            logger.info("no session with tools could be opened ahead: %s", exc)
            return
        timer = asyncio.get_running_loop().call_later(SPARE_FOR_S, self._give_back, session)
        self._spares[session] = timer

    def _take(self, spare: ToolSession) -> None:
        self._spares.pop(spare).cancel()

    def _give_back(self, spare: ToolSession) -> None:
        self._take(spare)
        self._discard(spare)

    def _discard(self, spare: ToolSession) -> None:
        if spare.worker.serves:
            spare.worker.close_session(spare.id)
        self._bridge.close(spare.endpoint)

    def _forget_dead(self) -> None:
        dead: Iterable[ToolSession] = [spare for spare in self._spares if not spare.worker.serves]
        for spare in dead:
            self._give_back(spare)
