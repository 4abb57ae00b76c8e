"""The models, in OpenAI's shape."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from cursorpipe_core import AUTO_MODEL, Model, UnknownModelError
from cursorpipe_server.answering import json_response
from cursorpipe_server.keys import ROUTER

#: When this program's models came to be, as far as the list of models says: the CLI tells no dates, and
#: clients want the number to stay the same.
MODELS_CREATED = 1712160000

#: Who makes a family of models, by how their names begin.
_OWNERS = (
    ("anthropic", re.compile(r"claude|opus|sonnet|haiku|fable", re.IGNORECASE)),
    ("openai", re.compile(r"gpt|o[1-9]\b|codex|chatgpt", re.IGNORECASE)),
    ("google", re.compile(r"gemini|gemma", re.IGNORECASE)),
    ("xai", re.compile(r"(cursor-)?grok", re.IGNORECASE)),
    ("deepseek", re.compile(r"deepseek", re.IGNORECASE)),
    ("moonshotai", re.compile(r"kimi", re.IGNORECASE)),
    ("zai", re.compile(r"glm", re.IGNORECASE)),
    ("qwen", re.compile(r"qwen", re.IGNORECASE)),
)


async def list_models(request: web.Request) -> web.Response:
    """List what can be asked for."""
    models = await request.app[ROUTER].models()
    return json_response({"object": "list", "data": [model_object(model) for model in models]})


async def retrieve_model(request: web.Request) -> web.Response:
    """Describe one model; raises UnknownModelError if it is not in the list."""
    wanted = request.match_info["id"]
    models = await request.app[ROUTER].models()
    for model in models:
        if model.id == wanted:
            return json_response(model_object(model))
    raise UnknownModelError(wanted, known=[model.id for model in models if model.id != AUTO_MODEL])


def model_object(model: Model) -> dict[str, Any]:
    """Return a model in OpenAI's shape."""
    owner = next((owner for owner, family in _OWNERS if family.match(model.id)), "cursor")
    return {"id": model.id, "object": "model", "created": MODELS_CREATED, "owned_by": owner}
