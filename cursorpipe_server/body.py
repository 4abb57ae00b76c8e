"""A request's body, read into the model that describes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from cursorpipe_core import InvalidRequestError
from cursorpipe_server.bounds import read_bounded
from cursorpipe_server.errors import PayloadError
from cursorpipe_server.origins import is_from_browser

#: How deep arrays and objects of a body may be nested; a tool's JSON schema has a dozen levels.
MAX_DEPTH = 64

#: Encodings that aiohttp undoes, or refuses by itself where it lacks the means; others it would pass on.
_ENCODINGS = frozenset({"", "identity", "gzip", "deflate", "br", "zstd"})

_CONTAINERS = frozenset({dict, list})
_NOTHING: Any = object()

Body = TypeVar("Body", bound=BaseModel)


async def read_body(request: web.Request, model: type[Body]) -> Body:
    """Return the body as ``model``.

    Raises PayloadError for a media type that is not JSON, what ``read_bounded`` raises for a body beyond
    its bounds, and InvalidRequestError, whose ``param`` is the path of the first wrong member, for
    everything else.
    """
    # A program that names no type is taken at its word, as OpenAI's own servers take it. A page is not: what
    # it sends without one, or with one that is not JSON, was never put to the test of a preflight.
    named = "Content-Type" in request.headers
    if (named or is_from_browser(request.headers)) and not _is_json(request.content_type):
        given = request.content_type if named else "missing"
        raise PayloadError(f"The content type must be application/json, not {given}.")
    if request.headers.get("Content-Encoding", "").lower() not in _ENCODINGS:
        raise PayloadError("The body's content encoding is not one this server takes.")
    try:
        raw = await read_bounded(request)
    except web.RequestPayloadError as exc:
        raise InvalidRequestError("The body cannot be read as its headers say it is encoded.") from exc
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        if "depth" in exc.msg:
            raise _too_deep() from exc
        raise InvalidRequestError(f"The body is not valid JSON: {exc.msg} at byte {exc.pos}.") from exc
    # The count is an upper bound of the depth, and for most bodies that settles it.
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _is_deeper(data, MAX_DEPTH):
        raise _too_deep()
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        raise _invalid(exc, data) from exc


def _too_deep() -> InvalidRequestError:
    return InvalidRequestError(f"The body is nested deeper than {MAX_DEPTH} levels.")


def _is_deeper(data: Any, levels: int) -> bool:
    """Whether arrays and objects are nested deeper than ``levels``; level by level, without recursion."""
    level = [data] if type(data) in _CONTAINERS else []
    for _ in range(levels):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in _CONTAINERS
        ]
        if not level:
            return False
    return True


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
