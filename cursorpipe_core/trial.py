"""A real turn of one word, to see an agent answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from cursorpipe_core.completion import TextDelta
from cursorpipe_core.config import AgentSettings
from cursorpipe_core.counts import BackendCounts
from cursorpipe_core.errors import CursorpipeError
from cursorpipe_core.finding import Finding, broken, fine
from cursorpipe_core.instance import Instance
from cursorpipe_core.prompt import Prompt
from cursorpipe_core.remedies import ACP_TURN_FAILS, PRINT_FAILS, TURN_SILENT, Context, reason
from cursorpipe_core.runner import SubprocessRunner
from cursorpipe_core.turn import Clocks, Turn
from cursorpipe_core.worker import AgentWorker

#: Seconds a turn may take in all; a cold one of print mode has its first word after nine (CLI contract §1).
TRIAL_S = 60.0
#: What is shown of an answer.
MAX_SHOWN = 40

PROMPT = Prompt("Answer with the one word: ready")


async def try_acp(settings: AgentSettings, worker: AgentWorker) -> Finding:
    """Have a worker answer, in the session that it has in stock or another."""

    async def begin(turn: Turn) -> None:
        worker.reserve()
        if worker.begin_now(PROMPT, turn) is None:
            await worker.begin(PROMPT, turn)

    meaning = Context(ACP_TURN_FAILS, TURN_SILENT, ACP_TURN_FAILS, settings.has_credentials)
    return await _try("acp-turn", settings, begin, meaning)


async def try_print(settings: AgentSettings, instance: Instance) -> Finding:
    """Have a process of print mode answer."""
    meaning = Context(PRINT_FAILS, TURN_SILENT, PRINT_FAILS, settings.has_credentials)
    async with SubprocessRunner(
        settings, instance, max_processes=1, max_waiting=1, counts=BackendCounts()
    ) as runner:

        async def begin(turn: Turn) -> None:
            await runner.begin(None, PROMPT, turn, client="", timeout_s=TRIAL_S)

        return await _try("print-turn", settings, begin, meaning)


async def _try(
    name: str, settings: AgentSettings, begin: Callable[[Turn], Awaitable[None]], meaning: Context
) -> Finding:
    clocks = Clocks(
        min(TRIAL_S, settings.first_event_timeout_s), min(TRIAL_S, settings.idle_timeout_s), TRIAL_S
    )
    turn = Turn(prompt_bytes=PROMPT.size, clocks=clocks, left_s=TRIAL_S)
    started_at = time.monotonic()
    first_text_s: float | None = None
    text = ""
    try:
        await begin(turn)
        while batch := await turn.read():
            for event in batch:
                if isinstance(event, TextDelta):
                    first_text_s = first_text_s or time.monotonic() - started_at
                    text += event.text
    except CursorpipeError as exc:
        return broken(name, reason(exc), meaning.remedy(exc), seconds=time.monotonic() - started_at)
    finally:
        turn.close()
    return fine(
        name,
        f'answered "{_shown(settings.redact(text))}"',
        seconds=time.monotonic() - started_at,
        stages={"first text": first_text_s or 0.0},
    )


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}…"
