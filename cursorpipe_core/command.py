"""The small commands of the CLI: one word, one answer."""

from __future__ import annotations

from cursorpipe_core.config import AgentSettings
from cursorpipe_core.habitat import habitat
from cursorpipe_core.instance import Instance
from cursorpipe_core.outcome import judge_exit
from cursorpipe_core.process import run_command


async def ask_cli(
    word: str, settings: AgentSettings, instance: Instance, *, timeout_s: float, what: str
) -> str:
    """Return what `agent WORD` prints; raises why it fails, or AgentTimeoutError naming ``what``."""
    async with habitat(settings, instance) as place:
        result = await run_command(
            (*settings.command(), word),
            env=place.env,
            cwd=place.cwd,
            timeout=timeout_s,
            what=what,
            on_started=place.on_started,
        )
    if result.returncode != 0:
        raise judge_exit(result.returncode, f"{result.stdout}\n{result.stderr}", settings.redact)
    return result.stdout
