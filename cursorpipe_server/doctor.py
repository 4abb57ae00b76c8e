"""`cursorpipe-server doctor`: looks at everything that a server needs, and tells what to do."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from cursorpipe_core import Finding, Remedy, SettingsError, Status, broken, examine, preflight
from cursorpipe_server.bridge import Bridge
from cursorpipe_server.config import Settings
from cursorpipe_server.findings import Report, as_json, overall, short_line
from cursorpipe_server.litellm import check_litellm
from cursorpipe_server.surroundings import check_open_files, check_port, check_token

WRONG_SETTINGS = Remedy(
    "wrong_settings", "Correct what is named, in the environment or the file of settings."
)


async def look_at_everything(settings: Settings, litellm: str | None) -> AsyncGenerator[Finding, None]:
    """Yield what is found of the agent's side, and then of the server's; ``litellm`` is a proxy's address."""
    async with (
        Bridge() as bridge,
        aclosing(examine(settings.agent, settings.supervision, bridge)) as findings,
    ):
        async for finding in findings:
            yield finding
    yield await check_port(settings.server)
    yield check_token(settings)
    yield check_open_files(settings.supervision)
    if litellm is not None:
        yield await check_litellm(litellm)


async def look_at_the_agent(settings: Settings) -> AsyncGenerator[Finding, None]:
    """Yield the short form: what is found of the agent, without asking it anything."""
    async for finding in preflight(settings.agent):
        yield finding


async def report(
    settings: Settings, *, short: bool = False, as_data: bool = False, litellm: str | None = None
) -> int:
    """Look, print what is found as it comes, and return the exit status: 1 if something does not work.

    ``as_data`` prints JSON once all is known. SIGINT and SIGTERM end what was started before the program.
    """
    ended_by: list[signal.Signals] = []
    looking = asyncio.ensure_future(_report(settings, short=short, as_data=as_data, litellm=litellm))

    def end(signum: signal.Signals) -> None:
        ended_by.append(signum)
        looking.cancel()

    for signum in (signal.SIGINT, signal.SIGTERM):
        # Also where the shell that began it in the background has it ignored.
        asyncio.get_running_loop().add_signal_handler(signum, end, signum)
    try:
        return await looking
    except asyncio.CancelledError:
        if not ended_by:
            raise
        return 128 + ended_by[0]


async def _report(settings: Settings, *, short: bool, as_data: bool, litellm: str | None) -> int:
    findings: list[Finding] = []
    full = Report(sys.stdout)
    tell: Callable[[Finding], None] = _ignore if as_data else _tell_shortly if short else full.add
    look = look_at_the_agent(settings) if short else look_at_everything(settings, litellm)
    async with aclosing(look):
        async for finding in look:
            findings.append(finding)
            tell(finding)
    if as_data:
        _write(json.dumps(as_json(findings), indent=2, ensure_ascii=False))
    elif not short:
        full.close(findings)
    return 1 if overall(findings) is Status.FAILED else 0


def report_wrong_settings(error: SettingsError) -> None:
    """Print as JSON that there was nothing to look at."""
    finding = broken("settings", str(error), WRONG_SETTINGS)
    _write(json.dumps(as_json([finding]), indent=2, ensure_ascii=False))


def _tell_shortly(finding: Finding) -> None:
    _write(short_line(finding))


def _ignore(finding: Finding) -> None:
    """Take what is printed at the end."""


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
