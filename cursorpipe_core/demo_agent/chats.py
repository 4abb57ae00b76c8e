"""The chats of print mode, and the directories that somebody has vouched for (CLI contract §2, §5.1)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cursorpipe_core.demo_agent.context import Context
from cursorpipe_core.demo_agent.store import Conversation, is_id, new_id, read_meta, stored


class ChatError(Exception):
    """A chat cannot be continued; the text is the CLI's."""


def chats_directory(context: Context) -> Path:
    """Return where the chats of the working directory are."""
    return context.settings.directory / "chats" / _digest(context.cwd)


def open_chat(context: Context) -> Conversation:
    """Return the chat that ``--resume`` or ``--continue`` names, or a new one; it is this process's own.

    A chat is found from any directory, and an id that nobody knows begins a chat of that id. Raises
    ChatError, and OSError when there is no place for chats.
    """
    chat = _find(context)
    if not chat.load():
        chat.create()
    if not chat.claim():
        raise ChatError(f"Chat {chat.id} may still be running in another process.")
    return chat


def _find(context: Context) -> Conversation:
    invocation, here = context.invocation, chats_directory(context)
    wanted = invocation.get("resume")
    if wanted and not is_id(wanted):
        raise ChatError(f"Error: Chat {wanted} not found")
    if wanted:
        for directory in here.parent.glob(f"*/{wanted}"):
            meta = read_meta(directory)
            if meta is not None:
                return Conversation(directory, meta["cwd"])
    elif invocation.has("resume", "continue"):
        for meta in stored(here):
            return Conversation(here / meta["id"], meta["cwd"])
    return Conversation(here / (wanted or new_id()), str(context.cwd))


def is_trusted(context: Context) -> bool:
    """Whether the working directory is vouched for: now, by ``--force``, or earlier by ``--trust``."""
    marker = context.settings.directory / "projects" / _digest(context.cwd) / ".workspace-trusted"
    if context.invocation.has("trust"):
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        return True
    return context.forced or marker.exists()


def _digest(directory: Path) -> str:
    return hashlib.md5(str(directory).encode(), usedforsecurity=False).hexdigest()
