"""The small commands of the CLI: one word, one answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cursorpipe_core.bounds import bounded
from cursorpipe_core.config import AgentSettings
from cursorpipe_core.habitat import habitat
from cursorpipe_core.instance import Instance
from cursorpipe_core.outcome import judge_exit
from cursorpipe_core.process import ChildProcess, plain_text

#: How long a short command may take to leave after SIGTERM.
COMMAND_GRACE_S = 1.0


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


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a short command printed, plain, and how it ended."""

    returncode: int
    stdout: str
    stderr: str


async def run_command(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    timeout: float,
    what: str,
    on_started: Callable[[int], None] = lambda _: None,
) -> CommandResult:
    """Run a short command to its end, without input; ``on_started`` is told its process id.

    Raises AgentNotFoundError or AgentCrashError if it cannot be started, AgentTimeoutError naming
    ``what`` after ``timeout`` seconds; the command is then ended with its group.
    """
    output = bytearray()
    child = ChildProcess(command, env=env, cwd=cwd, on_stdout=output.extend)
    try:
        on_started(child.pid)
        child.close_stdin()
        async with bounded(what, timeout):
            await child.wait_exited()
    finally:
        await child.stop(polite=0, grace=COMMAND_GRACE_S)
    return CommandResult(await child.wait_exited(), plain_text(bytes(output)), child.stderr_tail())
