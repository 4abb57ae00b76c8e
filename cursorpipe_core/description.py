"""The CLI as it is installed."""

from __future__ import annotations

from dataclasses import dataclass

from cursorpipe_core.command import ask_cli
from cursorpipe_core.config import AgentSettings
from cursorpipe_core.errors import CursorpipeError
from cursorpipe_core.instance import Instance

#: Seconds `agent --version` and `agent status` may take.
COMMAND_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class AgentDescription:
    """Where the CLI is and the build it names, if it does."""

    path: str
    version: str | None


async def describe_agent(settings: AgentSettings, instance: Instance) -> AgentDescription:
    """Find the CLI and ask for its version; raises AgentNotFoundError if there is none."""
    command = settings.command()
    try:
        version = await first_line("--version", settings, instance)
    except CursorpipeError:
        version = ""
    return AgentDescription(" ".join(command), version or None)


async def first_line(word: str, settings: AgentSettings, instance: Instance) -> str:
    """Return the first line of what a small command of the CLI prints; raises why it fails."""
    printed = await ask_cli(word, settings, instance, timeout_s=COMMAND_TIMEOUT_S, what=f"`{word}`")
    return printed.strip().partition("\n")[0]
