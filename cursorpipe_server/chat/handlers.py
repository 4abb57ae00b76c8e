"""The handlers of chat completions and models."""

from __future__ import annotations

import orjson
from aiohttp import web

from cursorpipe_core import AUTO_MODEL, UnknownModelError
from cursorpipe_server.body import read_body
from cursorpipe_server.chat.schemas import ChatCompletionRequest
from cursorpipe_server.chat.translate import Answer, model_object, to_core
from cursorpipe_server.keys import CLIENT, ROUTER, SETTINGS
from cursorpipe_server.log import ANSWER, stages
from cursorpipe_server.sse import stream_frames


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """Answer a conversation, whole or as a stream."""
    server = request.app[SETTINGS].settings.server
    router = request.app[ROUTER]
    with stages(enabled=server.enable_profiling) as mark:
        body = await read_body(request, ChatCompletionRequest)
        mark("body read")
        answer = Answer(body, router.route(body.model or None), mark)
        request[ANSWER] = answer
        events = router.complete(to_core(body, client=request[CLIENT]))
        if body.stream:
            frames = answer.frames(events)
            return await stream_frames(
                request, frames, headers=answer.headers, keepalive_s=server.keepalive_s
            )
        completion = await answer.collect(events)
        return _json(completion, headers=answer.headers())


async def list_models(request: web.Request) -> web.Response:
    """List what can be asked for."""
    models = await request.app[ROUTER].models()
    return _json({"object": "list", "data": [model_object(model) for model in models]})


async def retrieve_model(request: web.Request) -> web.Response:
    """Describe one model; raises UnknownModelError if it is not in the list."""
    wanted = request.match_info["id"]
    models = await request.app[ROUTER].models()
    for model in models:
        if model.id == wanted:
            return _json(model_object(model))
    raise UnknownModelError(wanted, known=[model.id for model in models if model.id != AUTO_MODEL])


def _json(data: object, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(data), content_type="application/json", headers=headers)
