"""The questions an operator asks before the first request: is there a CLI, is it signed in, does it work."""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from cursorpipe_core.catalogue import MODELS_TIMEOUT_S, parse_models
from cursorpipe_core.command import ask_cli
from cursorpipe_core.completion import Model
from cursorpipe_core.config import AUTO_MODEL, OLDER_AGENT_NAMES, AgentSettings
from cursorpipe_core.description import first_line
from cursorpipe_core.errors import AgentNotFoundError, CursorpipeError, SettingsError
from cursorpipe_core.finding import Finding, broken, doubtful, fine
from cursorpipe_core.instance import Instance
from cursorpipe_core.remedies import (
    AGENT_NOT_FOUND,
    ANOTHER_PROGRAM,
    CANNOT_START,
    INVALID_KEY,
    KEY_NOT_TAKEN,
    KEYCHAIN_LOCKED,
    LOGIN_MISSING,
    LOGIN_UNCLEAR,
    MODE_MISSING,
    MODELS_FAIL,
    MODELS_SILENT,
    NO_MODELS,
    NOT_EXECUTABLE,
    STATE_NOT_WRITABLE,
    STATUS_FAILS,
    TEMPORARY_NOT_WRITABLE,
    VERSION_CRASHES,
    VERSION_HANGS,
    Context,
    reason,
    start_remedy,
)
from cursorpipe_core.stages import Stages
from cursorpipe_core.worker import AgentWorker

#: Models that are named; of the others there is only the number.
MODELS_SHOWN = 5
#: How Cursor's builds are called (CLI contract §2); an `agent` of another product is not.
_BUILD = re.compile(r"20\d\d\.\d\d\.\d\d-\w")

#: Without these nothing else works, and what is refused the list of models is refused everything.
_GATES = ("agent", "state", "version", "login")
_REFUSED = (INVALID_KEY, KEY_NOT_TAKEN, LOGIN_MISSING, KEYCHAIN_LOCKED)


async def preflight(settings: AgentSettings) -> AsyncIterator[Finding]:
    """Check one thing after the other; stops where the rest could not be checked."""
    found = find_agent(settings)
    yield found
    if found.failed:
        return
    try:
        async with Instance(settings.state_dir) as instance:
            async for finding in examine_cli(settings, instance):
                yield finding
                if is_hopeless(finding):
                    return
            async with started(settings, instance) as (finding, _):
                yield finding
    except SettingsError as exc:
        yield no_state(exc)


def find_agent(settings: AgentSettings) -> Finding:
    """See whether there is a program under the configured name."""
    try:
        return fine("agent", " ".join(settings.command()))
    except AgentNotFoundError as exc:
        present = _present(exc.command)
        if present is None:
            return broken("agent", f"'{exc.command}' is not installed, or not on the PATH.", AGENT_NOT_FOUND)
        return broken("agent", f"'{present}' is there, but may not be run.", NOT_EXECUTABLE)


async def examine_cli(settings: AgentSettings, instance: Instance) -> AsyncIterator[Finding]:
    """Ask the CLI what it is, whether it is signed in and what it offers.

    Stops where it is hopeless to go on.
    """
    for check in (check_version, check_login, check_models):
        finding = await check(settings, instance)
        yield finding
        if is_hopeless(finding):
            return


def is_hopeless(finding: Finding) -> bool:
    """Whether everything behind this would only fail for the same reason."""
    return finding.failed and (finding.name in _GATES or finding.remedy in _REFUSED)


async def check_version(settings: AgentSettings, instance: Instance) -> Finding:
    """Ask for the build, which also shows whether the program can be run at all."""
    started_at = time.monotonic()
    try:
        version = settings.redact(await first_line("--version", settings, instance))
    except CursorpipeError as exc:
        has_status = getattr(exc, "status", None) is not None
        context = Context(
            VERSION_CRASHES if has_status else CANNOT_START,
            VERSION_HANGS,
            VERSION_CRASHES,
            settings.has_credentials,
        )
        return broken("version", reason(exc), context.remedy(exc), seconds=_since(started_at))
    seconds = _since(started_at)
    if _BUILD.match(version):
        return fine("version", version, seconds=seconds)
    said = f"'{version}' is no build of Cursor's" if version else "it does not tell its version"
    return doubtful("version", f"{said}.", ANOTHER_PROGRAM, seconds=seconds)


async def check_login(settings: AgentSettings, instance: Instance) -> Finding:
    """See whether there are credentials; whether Cursor takes them, the models show."""
    if settings.has_credentials:
        # `agent status` may say "Not logged in" to a key that works (CLI contract §2).
        kind = "API key" if settings.api_key else "token"
        return fine("login", f"by {kind}; whether it is valid, the next line shows")
    started_at = time.monotonic()
    try:
        said = settings.redact(await first_line("status", settings, instance))
    except CursorpipeError as exc:
        context = Context(STATUS_FAILS, STATUS_FAILS, STATUS_FAILS, settings.has_credentials)
        return broken("login", reason(exc), context.remedy(exc), seconds=_since(started_at))
    seconds = _since(started_at)
    if "Not logged in" in said:
        return broken("login", "No key is set, and there is no stored login.", LOGIN_MISSING, seconds=seconds)
    if "Logged in" in said:
        return fine("login", f"stored: {said}", seconds=seconds)
    return doubtful("login", f"`agent status` says '{said}'.", LOGIN_UNCLEAR, seconds=seconds)


async def check_models(settings: AgentSettings, instance: Instance) -> Finding:
    """Ask for the models, which Cursor tells only to whom it knows."""
    started_at = time.monotonic()
    try:
        printed = await ask_cli(
            "models", settings, instance, timeout_s=MODELS_TIMEOUT_S, what="list of models"
        )
    except CursorpipeError as exc:
        context = Context(MODELS_FAIL, MODELS_SILENT, MODELS_FAIL, settings.has_credentials)
        return broken("models", reason(exc), context.remedy(exc), seconds=_since(started_at))
    models = parse_models(printed)
    seconds = _since(started_at)
    if list(models) == [Model(AUTO_MODEL, "Auto")]:
        return doubtful("models", "The account has no models to choose from.", NO_MODELS, seconds=seconds)
    names = ", ".join(model.id for model in models[:MODELS_SHOWN])
    more = ", …" if len(models) > MODELS_SHOWN else ""
    return fine("models", f"{len(models)}: {names}{more}", seconds=seconds)


@asynccontextmanager
async def started(
    settings: AgentSettings, instance: Instance
) -> AsyncIterator[tuple[Finding, AgentWorker | None]]:
    """Start an agent over ACP and tell how long each stage took; leaving ends it.

    Gives no worker where it does not start. It has ``CURSORPIPE_ACP_STARTUP_TIMEOUT_S`` for that.
    """
    stages = Stages()
    worker = AgentWorker(settings, instance, stock=1, on_stage=stages.begin)
    async with AsyncExitStack() as stack:
        ready: AgentWorker | None = None
        try:
            ready = await stack.enter_async_context(worker)
        except CursorpipeError as exc:
            stages.end()
            remedy = start_remedy(exc, stages.current, has_credentials=settings.has_credentials)
            detail = f"At {stages.current}: {reason(exc)}"
            finding = broken("session", detail, remedy, seconds=stages.total_s, stages=stages.seconds)
        else:
            stages.end()
            finding = _started(stages, " ".join(worker.notes))
        yield finding, ready


def _started(stages: Stages, notes: str) -> Finding:
    if notes:
        return doubtful("session", notes, MODE_MISSING, seconds=stages.total_s, stages=stages.seconds)
    return fine("session", "opened over ACP", seconds=stages.total_s, stages=stages.seconds)


def no_state(error: SettingsError) -> Finding:
    """Return what is found where there can be no state directory, or nothing temporary."""
    variable, _, words = str(error).partition(": ")
    remedy = TEMPORARY_NOT_WRITABLE if variable == "TMPDIR" else STATE_NOT_WRITABLE
    return broken("state", words, remedy)


def _present(command: str) -> str | None:
    """Return the path of what is there under a name that is looked for, and cannot be run."""
    names = [command, *(OLDER_AGENT_NAMES if command == "agent" else ())]
    directories = os.environ.get("PATH", os.defpath).split(os.pathsep)
    for name in names:
        for path in [name] if os.sep in name else [f"{directory}/{name}" for directory in directories]:
            if Path(path).is_file():
                return path
    return None


def _since(started_at: float) -> float:
    return time.monotonic() - started_at
