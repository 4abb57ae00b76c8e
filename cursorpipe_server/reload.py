"""Settings that are read anew while the server runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from cursorpipe_core import Router, SettingsError, specs
from cursorpipe_server.config import LogLevel, Settings
from cursorpipe_server.live import LiveSettings
from cursorpipe_server.log import set_log_level

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """What of other settings a running server takes over: ``settings`` are those that hold then.

    ``taken`` and ``refused`` are the variables whose values differ, never the values.
    """

    settings: Settings
    taken: tuple[str, ...]
    refused: tuple[str, ...]


def reload(live: LiveSettings, router: Router, read: Callable[[], Settings]) -> None:
    """Take over what can change of the settings that ``read`` gives; log what did and what could not.

    With a mistake in them nothing changes. Nothing is awaited: no request sees a half of the change.
    """
    old = live.settings
    try:
        change = compare(old, read())
    except SettingsError as exc:
        mistakes = " ".join(str(exc).splitlines())
        # The operator's own text, not a failure of ours: no frames.
        logger.error("SIGHUP: nothing changed, the settings are wrong: %s", mistakes)  # noqa: TRY400
        return
    new = change.settings
    # Told by whichever level shows more: a change to silence is not to be made silently.
    set_log_level(min(old.server.log_level, new.server.log_level, key=list(LogLevel).index))
    live.adopt(new)
    router.adopt(new.agent, new.supervision)
    _tell(change)
    if old.server.tokens() and not new.server.tokens():
        logger.warning("SIGHUP: listening on %s without a token from now on", new.server.host)
    set_log_level(new.server.log_level)


def compare(old: Settings, wanted: Settings) -> Change:
    """Tell the settings that can change apart from those that need a restart, which stay as they are."""
    parts: dict[str, Any] = {}
    taken: list[str] = []
    refused: list[str] = []
    for part in (item.name for item in fields(Settings)):
        now, then = getattr(old, part), getattr(wanted, part)
        changes: dict[str, Any] = {}
        for field, (spec, _, _) in specs(type(now)).items():
            value = getattr(then, field)
            if value == getattr(now, field):
                continue
            if spec.reload:
                changes[field] = value
            (taken if spec.reload else refused).append(spec.names[0])
        parts[part] = replace(now, **changes)
    return Change(Settings(**parts), tuple(taken), tuple(refused))


def _tell(change: Change) -> None:
    if change.taken:
        logger.info("SIGHUP: changed: %s", ", ".join(change.taken))
    if change.refused:
        logger.warning("SIGHUP: need a restart: %s", ", ".join(change.refused))
    if not (change.taken or change.refused):
        logger.info("SIGHUP: no setting has changed")
