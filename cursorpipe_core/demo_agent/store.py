"""What was said before: one directory per conversation, for ACP sessions and print-mode chats alike."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_META = "meta.json"
_TURNS = "turns.jsonl"

#: An id becomes the name of a directory, so it must not lead out of its parent.
_ID = re.compile(r"[\w-]{1,100}", re.ASCII)


class Exchange(NamedTuple):
    """A question and its answer."""

    question: str
    answer: str


class Conversation:
    """The turns of one session or chat; they are on disk from the first one on (CLI contract §2).

    The real store is a database that only the CLI reads; here it is lines of JSON.
    """

    def __init__(self, directory: Path, cwd: str) -> None:
        self.directory = directory
        self.cwd = cwd
        self.turns: list[Exchange] = []

    @property
    def id(self) -> str:
        """The session's or chat's id."""
        return self.directory.name

    @property
    def title(self) -> str:
        """Return the beginning of the first question."""
        return " ".join(self.turns[0].question[:200].split())[:40] if self.turns else "New conversation"

    def create(self) -> None:
        """Write down what the conversation is about; raises OSError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        meta = {"id": self.id, "cwd": self.cwd, "title": self.title, "updatedAt": _now()}
        # Replaced as a whole: somebody may be listing the conversations at this moment.
        temporary = self.directory / f"{_META}.tmp"
        temporary.write_text(json.dumps(meta))
        temporary.rename(self.directory / _META)

    def add(self, question: str, answer: str) -> None:
        """Note a turn; without a place to write to, it is remembered only as long as the process lives."""
        self.turns.append(Exchange(question, answer))
        with contextlib.suppress(OSError):
            self.create()
            with (self.directory / _TURNS).open("ab") as file:
                file.write(json.dumps(self.turns[-1]).encode() + b"\n")

    def load(self) -> bool:
        """Read what is on disk; False: there is nothing."""
        meta = read_meta(self.directory) if is_id(self.id) else None
        if meta is None:
            return False
        with contextlib.suppress(OSError):
            lines = (self.directory / _TURNS).read_bytes().splitlines()
            self.turns = [Exchange(*json.loads(line)) for line in lines]
        return True

    def claim(self) -> bool:
        """Take the conversation for this process until it ends; False: another process has it."""
        lock = os.open(self.directory / "running", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        return True


def is_id(text: str) -> bool:
    """Whether a text can be the id of a conversation."""
    return _ID.fullmatch(text) is not None


def new_id() -> str:
    """Return an id for a conversation, in the form of a UUID."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


def read_meta(directory: Path) -> dict[str, Any] | None:
    """Return id, cwd, title and time of a conversation on disk; None: there is none."""
    try:
        meta = json.loads((directory / _META).read_bytes())
    except (OSError, ValueError):
        return None
    return meta if isinstance(meta, dict) else None


def stored(parent: Path) -> Iterator[dict[str, Any]]:
    """List the conversations below a directory, the last one used first."""
    found = [meta for path in parent.glob(f"*/{_META}") if (meta := read_meta(path.parent)) is not None]
    yield from sorted(found, key=lambda meta: str(meta.get("updatedAt")), reverse=True)


def _now() -> str:
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
