"""Short lines in a file, written down and struck out, which outlive the process that wrote them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

#: Bytes of a record with its line end. Records lie one behind the other, none across a page of memory, so
#: that each is there as a whole or not at all, whenever the process is killed.
RECORD_SIZE = 64
_STRUCK_OUT = b" " * (RECORD_SIZE - 1) + b"\n"


class Records:
    """A file of records; a struck out one makes room for the next. Leaving closes the file.

    One write each: a file of its own for each record costs twenty times as much.
    """

    def __init__(self, path: Path) -> None:
        """Make the file; raises OSError."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._free: list[int] = []
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._file)
        self._file = -1  # whoever comes too late must not write into another file

    def add(self, text: str) -> int:
        """Write down a line of less than RECORD_SIZE bytes; returns what strikes it out. Raises OSError."""
        at = self._free[-1] if self._free else self._size
        os.pwrite(self._file, text.encode().ljust(RECORD_SIZE - 1) + b"\n", at)
        if self._free:
            self._free.pop()
        else:
            self._size += RECORD_SIZE
        return at

    def remove(self, record: int) -> None:
        """Strike out what was written down."""
        with contextlib.suppress(OSError):
            os.pwrite(self._file, _STRUCK_OUT, record)
        self._free.append(record)


def recorded(path: Path) -> list[str]:
    """Return what is on record in a file and not struck out; nothing where there is no file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line.strip() for line in lines if line.strip()]
