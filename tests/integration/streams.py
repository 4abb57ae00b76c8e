"""Reading a stream as a client does."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientResponse


@dataclass
class Stream:
    """What came of a stream: its text, its chunks, and how it ended."""

    text: str = ""
    chunks: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    done: bool = False


async def read_stream(response: ClientResponse) -> Stream:
    """Read a stream to its end, holding it to its form."""
    assert response.status == 200, await response.text()
    assert response.content_type == "text/event-stream"
    stream = Stream()
    for event in (await response.read()).decode().split("\n\n"):
        if not event or event.startswith(":"):
            continue
        assert not stream.done, "nothing comes after [DONE]"
        assert stream.error is None, "nothing comes after an error"
        data = event.removeprefix("data: ")
        if data == "[DONE]":
            stream.done = True
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            stream.error = chunk["error"]
            continue
        stream.chunks.append(chunk)
        for choice in chunk["choices"]:
            stream.text += choice["delta"].get("content", "")
    return stream
