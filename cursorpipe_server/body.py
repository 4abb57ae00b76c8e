"""A request's body, read into the model that describes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from cursorpipe_core import InvalidRequestError
from cursorpipe_server.errors import PayloadError

_NOTHING: Any = object()

Body = TypeVar("Body", bound=BaseModel)


async def read_body(request: web.Request, model: type[Body]) -> Body:
    """Return the body as ``model``.

    Raises PayloadError for a media type that is not JSON, aiohttp's 413 for a body over the limit, and
    InvalidRequestError, whose ``param`` is the path of the first wrong member, for everything else.
    """
    # A request that names no type is taken at its word, as OpenAI's own servers take it.
    if "Content-Type" in request.headers and not _is_json(request.content_type):
        raise PayloadError(f"The content type must be application/json, not {request.content_type}.")
    try:
        raw = await request.read()
    except web.RequestPayloadError as exc:
        raise InvalidRequestError("The body cannot be read as its headers say it is encoded.") from exc
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise InvalidRequestError(f"The body is not valid JSON: {exc.msg} at byte {exc.pos}.") from exc
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        raise _invalid(exc, data) from exc


def _is_json(content_type: str) -> bool:
    return content_type == "application/json" or content_type.endswith("+json")


def _invalid(error: ValidationError, data: Any) -> InvalidRequestError:
    """Tell the first mistake: the one that is deepest in the body, where pydantic tried several shapes."""
    found = [
        (path, item["msg"].removeprefix("Value error, "), item["type"])
        for item in error.errors(include_url=False, include_context=False, include_input=False)
        for path in [_path(item["loc"], data, missing=item["type"] == "missing")]
    ]
    path, message, kind = max(found, key=lambda item: len(item[0]))
    param = ".".join(path) or None
    if kind == "missing":
        return InvalidRequestError(f"Missing required parameter: '{param}'.", param=param)
    where = f" for '{param}'" if param else ""
    return InvalidRequestError(f"Invalid value{where}: {message}.", param=param)


def _path(location: Sequence[int | str], data: Any, *, missing: bool) -> list[str]:
    """Return the part of pydantic's location that is in the body: it also names the shapes it tried."""
    path: list[str] = []
    for step in location:
        inside = data.get(step, _NOTHING) if isinstance(data, dict) else _NOTHING
        if isinstance(data, list) and isinstance(step, int) and step < len(data):
            inside = data[step]
        if inside is not _NOTHING:
            data = inside
        elif not (missing and step == location[-1]):
            continue
        path.append(str(step))
    return path
