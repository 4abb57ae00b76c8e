"""The models that the CLI lists, asked for rarely."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from cursorpipe_core.command import ask_cli
from cursorpipe_core.completion import Model
from cursorpipe_core.config import AUTO_MODEL, AgentSettings
from cursorpipe_core.errors import CursorpipeError
from cursorpipe_core.instance import Instance

logger = logging.getLogger(__name__)

#: Seconds `agent models` may take; it needs about one (CLI contract §6).
MODELS_TIMEOUT_S = 20.0

#: A line of the list (CLI contract §3).
_MODEL_LINE = re.compile(r"^(\S+) - (.+?)(?: \((?:current|default|current, default)\))?$", re.MULTILINE)


#: How hard a model thinks, as the last part of its name says it (CLI contract §3).
EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})


class Catalogue:
    """The models, cached for the time that the settings say; one question to the CLI serves all who ask.

    Leaving ends a question that is open.
    """

    def __init__(self, settings: AgentSettings, instance: Instance) -> None:
        self._settings = settings
        self._instance = instance
        self._models: Sequence[Model] = ()
        self._asked_at = -math.inf
        self._aliases = settings.aliases()
        self._refreshing: asyncio.Task[CursorpipeError | None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._refreshing is not None and not self._refreshing.done():
            self._refreshing.cancel()
            await asyncio.wait({self._refreshing})

    def adopt(self, settings: AgentSettings) -> None:
        """Go on with other settings; the list that is there is judged by the new time."""
        self._settings = settings
        self._aliases = settings.aliases()

    def resolve(self, model: str) -> str:
        """Return the model that an alias stands for, or the name as it is."""
        return self._aliases.get(model, model)

    def known(self, model: str) -> str | None:
        """Return the model that a name stands for, if the list that is there has it; the CLI is not asked."""
        model = self.resolve(model)
        return model if any(known.id == model for known in self._models) else None

    async def with_effort(self, model: str, effort: str) -> str | None:
        """Return the variant of a model that thinks this hard; None if there is none, or nobody knows."""
        model = self.resolve(model)
        if model in {"", AUTO_MODEL}:
            return None
        try:
            names = {known.id for known in await self.models()}
        except CursorpipeError:
            return None
        base, _, last = model.rpartition("-")
        stem = base if last in EFFORTS else model
        return variant if (variant := f"{stem}-{effort}") in names else None

    async def models(self) -> Sequence[Model]:
        """Return the models, `auto` first, and the aliases last.

        When the CLI cannot be asked again the last list is returned; raises why only if there is none.
        """
        if not self._models or time.monotonic() >= self._asked_at + self._settings.models_ttl_s:
            if self._refreshing is None or self._refreshing.done():
                self._refreshing = asyncio.create_task(self._refresh(), name="list of models")
            # Who leaves must not take the answer from the others.
            await asyncio.wait({self._refreshing})
            if (error := self._refreshing.result()) is not None:
                raise error.with_traceback(None)
        return (*self._models, *(Model(name, f"alias of {model}") for name, model in self._aliases.items()))

    async def _refresh(self) -> CursorpipeError | None:
        """Ask the CLI; returns why there is no list at all, if there is none."""
        try:
            self._models = await list_models(self._settings, self._instance)
        except CursorpipeError as exc:
            if not self._models:
                return exc
            logger.warning("the list of models is an old one: %s", exc)
        self._asked_at = time.monotonic()
        return None


async def list_models(settings: AgentSettings, instance: Instance) -> Sequence[Model]:
    """Ask the CLI for its models; raises why it does not tell."""
    printed = await ask_cli("models", settings, instance, timeout_s=MODELS_TIMEOUT_S, what="list of models")
    return parse_models(printed)


def parse_models(text: str) -> Sequence[Model]:
    """Read what `agent models` printed; `auto` is in the list whatever the CLI says, and first."""
    models = {found[1]: Model(found[1], found[2]) for found in _MODEL_LINE.finditer(text)}
    auto = models.pop(AUTO_MODEL, Model(AUTO_MODEL, "Auto"))
    return (auto, *models.values())
