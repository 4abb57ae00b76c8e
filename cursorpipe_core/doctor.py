"""Everything that can be wrong on the agent's side, looked at in an order in which causes come first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from cursorpipe_core.channel_probe import find_channel
from cursorpipe_core.channels import Channels
from cursorpipe_core.config import AgentSettings, Strategy, SupervisorSettings, ToolsMode
from cursorpipe_core.directories import check_config, check_state
from cursorpipe_core.endpoint import ToolBridge
from cursorpipe_core.errors import SettingsError
from cursorpipe_core.finding import Finding, Status, broken, doubtful, fine
from cursorpipe_core.instance import Instance
from cursorpipe_core.preflight import examine_cli, find_agent, is_hopeless, no_state, started
from cursorpipe_core.remedies import TOOLS_BY_PROMPT, TOOLS_UNAVAILABLE
from cursorpipe_core.tool_sessions import ToolSessions
from cursorpipe_core.trial import try_acp, try_print
from cursorpipe_core.worker import AgentWorker

#: What is looked at, in this order; each has a finding, whatever happens.
CHECKS = (
    *("agent", "state", "config", "version", "login", "models"),
    *("session", "acp-turn", "tools", "print-turn"),
)
#: What a strategy has no use for.
_UNUSED = {
    Strategy.AUTO: frozenset[str](),
    Strategy.ACP: frozenset({"print-turn"}),
    Strategy.SUBPROCESS: frozenset({"session", "acp-turn", "tools"}),
}


async def examine(
    agent: AgentSettings, supervision: SupervisorSettings, bridge: ToolBridge
) -> AsyncGenerator[Finding, None]:
    """Yield what is found, one after the other; two turns are asked of the account.

    ``bridge`` is what tools would be reached by. What cannot be checked is skipped, and what the strategy
    has no use for is only doubtful. Closing the generator ends what it has started.
    """
    told: set[str] = set()
    culprit = ""
    async with aclosing(_examine(agent, supervision, bridge)) as findings:
        async for finding in findings:
            told.add(finding.name)
            if is_hopeless(finding):
                culprit = culprit or finding.name
            yield _weighed(finding, supervision.strategy)
    for name in CHECKS:
        if name not in told:
            yield _skipped(name, culprit)


async def _examine(
    agent: AgentSettings, supervision: SupervisorSettings, bridge: ToolBridge
) -> AsyncGenerator[Finding, None]:
    found = find_agent(agent)
    yield found
    try:
        async with Instance(agent.state_dir) as instance:
            yield await asyncio.to_thread(check_state, agent)
            yield await asyncio.to_thread(check_config, agent)
            if found.failed:
                return
            async for finding in examine_cli(agent, instance):
                yield finding
                if is_hopeless(finding):
                    return
            async with aclosing(_examine_acp(agent, supervision, instance, bridge)) as findings:
                async for finding in findings:
                    yield finding
            yield await try_print(agent, instance)
    except SettingsError as exc:
        yield no_state(exc)


async def _examine_acp(
    agent: AgentSettings, supervision: SupervisorSettings, instance: Instance, bridge: ToolBridge
) -> AsyncGenerator[Finding, None]:
    async with started(agent, instance) as (finding, worker):
        yield finding
        if worker is None:
            yield _skipped("acp-turn", "session")
            yield _skipped("tools", "session")
            return
        yield await try_acp(agent, worker)
        yield await _check_tools(agent, supervision, worker, bridge)


async def _check_tools(
    agent: AgentSettings, supervision: SupervisorSettings, worker: AgentWorker, bridge: ToolBridge
) -> Finding:
    """See how callers' tools come to the agent, by sessions in which nothing is said."""
    if supervision.tools in {ToolsMode.OFF, ToolsMode.PROMPT}:
        return fine("tools", f"CURSORPIPE_TOOLS={supervision.tools}: the agent is offered none over MCP")
    started_at = time.monotonic()
    channels = Channels(may_approve=agent.private_config, may_write=not agent.workspace)
    sessions = ToolSessions(bridge, channels)
    try:
        channel = await find_channel(channels, sessions, worker)
    finally:
        await sessions.close()
    seconds = time.monotonic() - started_at
    if not worker.serves:
        return _skipped("tools", "acp-turn")
    if channel is not None:
        return fine("tools", f"reach the agent by MCP: {channel}", seconds=seconds)
    detail = "The agent asks for none that it is offered over MCP."
    if supervision.tools is ToolsMode.MCP:
        return broken("tools", detail, TOOLS_UNAVAILABLE, seconds=seconds)
    return doubtful("tools", detail, TOOLS_BY_PROMPT, seconds=seconds)


def _weighed(finding: Finding, strategy: Strategy) -> Finding:
    """Take what the strategy has no use for less seriously."""
    if not finding.failed or finding.name not in _UNUSED[strategy]:
        return finding
    detail = f"{finding.detail} (CURSORPIPE_STRATEGY={strategy} has no use for it.)"
    return replace(finding, status=Status.WARNING, detail=detail)


def _skipped(name: str, culprit: str) -> Finding:
    return Finding(name, Status.SKIPPED, f"not tried, because of: {culprit}")
