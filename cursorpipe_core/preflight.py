"""The questions an operator asks before the first request: is there a CLI, is it signed in, does it work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from cursorpipe_core.catalogue import list_models
from cursorpipe_core.config import AgentSettings
from cursorpipe_core.errors import CursorpipeError
from cursorpipe_core.habitat import habitat
from cursorpipe_core.outcome import judge_exit
from cursorpipe_core.process import run_command
from cursorpipe_core.worker import AgentWorker

#: Seconds `agent --version` and `agent status` may take.
COMMAND_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class AgentDescription:
    """The CLI as it is installed: where it is and the build it names, if it does."""

    path: str
    version: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question."""

    name: str
    ok: bool
    detail: str


async def describe_agent(settings: AgentSettings) -> AgentDescription:
    """Find the CLI and ask for its version; raises AgentNotFoundError if there is none."""
    command = settings.command()
    try:
        version = await _output(settings, "--version")
    except CursorpipeError:
        version = ""
    return AgentDescription(" ".join(command), version or None)


async def preflight(settings: AgentSettings) -> AsyncIterator[Finding]:
    """Check one thing after the other; stops where the rest could not be checked."""
    try:
        command = settings.command()
    except CursorpipeError as exc:
        yield Finding("agent", ok=False, detail=str(exc))
        return
    yield Finding("agent", ok=True, detail=" ".join(command))
    yield await _version(settings)
    yield await _login(settings)
    yield await _models(settings)
    yield await _session(settings)


async def _version(settings: AgentSettings) -> Finding:
    try:
        version = await _output(settings, "--version")
    except CursorpipeError as exc:
        return Finding("version", ok=False, detail=str(exc))
    return Finding("version", ok=bool(version), detail=version or "The agent does not tell its version.")


async def _login(settings: AgentSettings) -> Finding:
    if settings.has_credentials:
        # `agent status` may say "Not logged in" to a key that works (CLI contract §2): the models tell.
        return Finding("login", ok=True, detail="by key or token; whether it is valid, the next line shows")
    try:
        said = await _output(settings, "status")
    except CursorpipeError as exc:
        return Finding("login", ok=False, detail=str(exc))
    return Finding("login", ok="Logged in" in said, detail=said.strip() or "The agent does not say.")


async def _models(settings: AgentSettings) -> Finding:
    try:
        models = await list_models(settings)
    except CursorpipeError as exc:
        return Finding("models", ok=False, detail=str(exc))
    return Finding("models", ok=True, detail=f"{len(models)}: {', '.join(model.id for model in models[:5])}")


async def _session(settings: AgentSettings) -> Finding:
    try:
        async with AgentWorker(settings, stock=1) as worker:
            notes = " ".join(worker.notes)
    except CursorpipeError as exc:
        return Finding("session", ok=False, detail=str(exc))
    return Finding("session", ok=True, detail=f"opened over ACP{'. ' + notes if notes else ''}")


async def _output(settings: AgentSettings, word: str) -> str:
    """Return the first line of what a small command of the CLI prints; raises why it fails."""
    async with habitat(settings) as place:
        result = await run_command(
            (*settings.command(), word),
            env=place.env,
            cwd=place.cwd,
            timeout=COMMAND_TIMEOUT_S,
            what=f"`{word}`",
        )
    if result.returncode != 0:
        raise judge_exit(result.returncode, f"{result.stdout}\n{result.stderr}", settings.redact)
    return result.stdout.strip().partition("\n")[0]
