"""The questions an operator asks before the first request: is there a CLI, is it signed in, does it work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from cursorpipe_core.catalogue import list_models
from cursorpipe_core.command import ask_cli
from cursorpipe_core.config import AgentSettings
from cursorpipe_core.errors import CursorpipeError, SettingsError
from cursorpipe_core.instance import Instance
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


async def describe_agent(settings: AgentSettings, instance: Instance) -> AgentDescription:
    """Find the CLI and ask for its version; raises AgentNotFoundError if there is none."""
    command = settings.command()
    try:
        version = await _output(settings, instance, "--version")
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
    try:
        async with Instance(settings.state_dir) as instance:
            for check in (_version, _login, _models, _session):
                yield await check(settings, instance)
    except SettingsError as exc:
        yield Finding("state", ok=False, detail=str(exc))


async def _version(settings: AgentSettings, instance: Instance) -> Finding:
    try:
        version = await _output(settings, instance, "--version")
    except CursorpipeError as exc:
        return Finding("version", ok=False, detail=str(exc))
    return Finding("version", ok=bool(version), detail=version or "The agent does not tell its version.")


async def _login(settings: AgentSettings, instance: Instance) -> Finding:
    if settings.has_credentials:
        # `agent status` may say "Not logged in" to a key that works (CLI contract §2): the models tell.
        return Finding("login", ok=True, detail="by key or token; whether it is valid, the next line shows")
    try:
        said = await _output(settings, instance, "status")
    except CursorpipeError as exc:
        return Finding("login", ok=False, detail=str(exc))
    return Finding("login", ok="Logged in" in said, detail=said.strip() or "The agent does not say.")


async def _models(settings: AgentSettings, instance: Instance) -> Finding:
    try:
        models = await list_models(settings, instance)
    except CursorpipeError as exc:
        return Finding("models", ok=False, detail=str(exc))
    return Finding("models", ok=True, detail=f"{len(models)}: {', '.join(model.id for model in models[:5])}")


async def _session(settings: AgentSettings, instance: Instance) -> Finding:
    try:
        async with AgentWorker(settings, instance, stock=1) as worker:
            notes = " ".join(worker.notes)
    except CursorpipeError as exc:
        return Finding("session", ok=False, detail=str(exc))
    return Finding("session", ok=True, detail=f"opened over ACP{'. ' + notes if notes else ''}")


async def _output(settings: AgentSettings, instance: Instance, word: str) -> str:
    """Return the first line of what a small command of the CLI prints; raises why it fails."""
    printed = await ask_cli(word, settings, instance, timeout_s=COMMAND_TIMEOUT_S, what=f"`{word}`")
    return printed.strip().partition("\n")[0]
