"""What every dialect's answer has in common on its way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import orjson
from aiohttp import web

from cursorpipe_core import Route
from cursorpipe_server.choices import Choices
from cursorpipe_server.config import ServerSettings
from cursorpipe_server.errors import UnsupportedParameterError
from cursorpipe_server.keys import CHOICES, MODEL, SETTINGS
from cursorpipe_server.sse import Frames, stream_frames


class Answer(Protocol):
    """An answer in one dialect, streamed or whole."""

    model: str

    def frames(self) -> Frames:
        """Return the answer as server-sent events."""

    async def collect(self) -> dict[str, Any]:
        """Wait for the whole answer and return it."""


async def send_answer(
    request: web.Request, answer: Answer, choices: Choices, *, streamed: bool
) -> web.StreamResponse:
    """Send an answer, as a stream or whole, with the headers that say how it was made."""
    request[MODEL], request[CHOICES] = answer.model, choices
    if streamed:
        return await stream_frames(
            request,
            answer.frames(),
            headers=lambda: choices.headers(whole=False),
            keepalive_s=request.app[SETTINGS].settings.server.keepalive_s,
        )
    return json_response(await answer.collect(), headers=choices.headers(whole=True))


def unheard(server: ServerSettings, route: Route, names: Sequence[str]) -> list[str]:
    """Return what of a request has no effect; raises UnsupportedParameterError where that is refused."""
    if server.strict_params:
        for name in names:
            raise UnsupportedParameterError(name)
    return [*(["model"] if route.ignored_model else []), *names]


def json_response(data: object, headers: Any = None) -> web.Response:
    """Return an answer with a JSON body."""
    return web.Response(body=orjson.dumps(data), content_type="application/json", headers=headers)
