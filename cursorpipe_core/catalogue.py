"""The models that the CLI lists, asked for rarely."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Sequence

from cursorpipe_core.completion import Model
from cursorpipe_core.config import AUTO_MODEL, AgentSettings
from cursorpipe_core.errors import CursorpipeError
from cursorpipe_core.habitat import habitat
from cursorpipe_core.outcome import judge_exit
from cursorpipe_core.process import run_command

logger = logging.getLogger(__name__)

#: Seconds `agent models` may take; it needs about one (CLI contract §6).
MODELS_TIMEOUT_S = 20.0

#: A line of the list (CLI contract §3).
_MODEL_LINE = re.compile(r"^(\S+) - (.+?)(?: \((?:current|default|current, default)\))?$", re.MULTILINE)


class Catalogue:
    """The models, cached for the time that the settings say; one question to the CLI at a time."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._models: Sequence[Model] = ()
        self._fresh_until = 0.0
        self._asking = asyncio.Lock()

    async def models(self) -> Sequence[Model]:
        """Return the models, `auto` first.

        When the CLI cannot be asked again the last list is returned; raises why only if there is none.
        """
        async with self._asking:
            if not self._models or time.monotonic() >= self._fresh_until:
                await self._refresh()
            return self._models

    async def _refresh(self) -> None:
        try:
            self._models = await list_models(self._settings)
        except CursorpipeError as exc:
            if not self._models:
                raise
            logger.warning("the list of models is an old one: %s", exc)
        self._fresh_until = time.monotonic() + self._settings.models_ttl_s


async def list_models(settings: AgentSettings) -> Sequence[Model]:
    """Ask the CLI for its models; raises why it does not tell."""
    async with habitat(settings) as place:
        result = await run_command(
            (*settings.command(), "models"),
            env=place.env,
            cwd=place.cwd,
            timeout=MODELS_TIMEOUT_S,
            what="list of models",
        )
    if result.returncode != 0:
        raise judge_exit(result.returncode, f"{result.stdout}\n{result.stderr}", settings.redact)
    return parse_models(result.stdout)


def parse_models(text: str) -> Sequence[Model]:
    """Read what `agent models` printed; `auto` is in the list whatever the CLI says, and first."""
    models = {found[1]: Model(found[1], found[2]) for found in _MODEL_LINE.finditer(text)}
    auto = models.pop(AUTO_MODEL, Model(AUTO_MODEL, "Auto"))
    return (auto, *models.values())
