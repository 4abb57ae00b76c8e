"""Standard output and error as the CLI writes them: whole lines, whoever writes."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Mapping
from typing import Any

_STDOUT = 1
_STDERR = 2

# Turns run in threads of their own; a line must not be cut by another one's.
_lock = threading.Lock()

# The CLI writes characters as they are. Made once, because the making costs more than a short line.
encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def write_line(message: Mapping[str, Any], *, torn: bool = False) -> None:
    """Write one JSON object as a line; ``torn``: in two writes, cut inside a character if it has a wide one.

    Raises OSError when nobody reads any more.
    """
    line = encode_line(encode_json(message)) + b"\n"
    with _lock:
        if torn:
            middle = next((index for index, byte in enumerate(line) if byte & 0xC0 == 0x80), len(line) // 2)
            _write(_STDOUT, line[:middle])
            line = line[middle:]
        _write(_STDOUT, line)


def write_raw(data: bytes) -> None:
    """Write bytes that need not be a line of the protocol."""
    with _lock:
        _write(_STDOUT, data)


def write_stderr(text: str) -> None:
    """Write a text on standard error as it is; like the CLI, wait if nobody empties the pipe."""
    with contextlib.suppress(OSError):
        _write(_STDERR, text.encode())


def print_text(text: str) -> None:
    """Print a text and a line feed on standard output."""
    write_raw(whole_characters(text).encode() + b"\n")


def complain(text: str) -> None:
    """Print a text and a line feed on standard error; one that nobody reads is no further failure."""
    with contextlib.suppress(OSError):
        _write(_STDERR, whole_characters(text).encode() + b"\n")


def encode_line(line: str) -> bytes:
    """Return a line of JSON as bytes; a lone half of a surrogate pair, which has none, as its escape."""
    try:
        return line.encode()
    except UnicodeEncodeError:
        return "".join(
            f"\\u{ord(character):04x}" if 0xD800 <= ord(character) <= 0xDFFF else character
            for character in line
        ).encode()


def whole_characters(text: str) -> str:
    """Return a text whose surrogate halves are joined, and replaced where they have no other half."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _write(descriptor: int, data: bytes) -> None:
    while data:
        written = os.write(descriptor, data)
        data = data[written:]
