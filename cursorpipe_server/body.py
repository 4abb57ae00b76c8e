"""A request's body, read into the model that describes it."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

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
    found = [(_path(item, data), item) for item in error.errors(include_url=False)]
    path, item = max(found, key=lambda pair: len(pair[0]))
    param = ".".join(path) or None
    if item["type"] in _MISSING:
        return InvalidRequestError(f"Missing required parameter: '{param}'.", param=param)
    return InvalidRequestError(_words(param, item), param=param)


def _words(param: str | None, item: ErrorDetails) -> str:
    """Put a mistake into words, in the way that OpenAI's own servers do."""
    kind, context, value = item["type"], item.get("ctx", {}), item["input"]
    what = f" '{param}'" if param else ""
    got = _got(value)
    if kind in _TYPES:
        where = f" for{what}" if param else ""
        return f"Invalid type{where}: expected {_TYPES[kind]}, but got {_type_of(value)} instead."
    if kind in _BOUNDS:
        sign, name = _BOUNDS[kind]
        return f"Invalid{what}: expected a value {sign} {context[name]:g}, {got}"
    if kind in {"too_short", "too_long"}:
        most = kind == "too_long"
        count = context["max_length" if most else "min_length"]
        bound = f"{'at most' if most else 'at least'} {count} item{'' if count == 1 else 's'}"
        return f"Invalid{what}: expected {bound}, but got {len(value)} instead."
    where = f" for{what}" if param else ""
    if kind == "union_tag_invalid":
        told = value[context["discriminator"].strip("'")]
        return f"Invalid value{where}: expected one of {context['expected_tags']}, {_got(told)}"
    if kind == "literal_error":
        choices = str(context["expected"]).replace(" or ", ", ")
        return f"Invalid value{where}: expected one of {choices}, {got}"
    return f"Invalid value{where}: {item['msg'].removeprefix('Value error, ')}."


#: What pydantic's kinds of error expect.
_TYPES = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
}
#: Kinds of error that name no member of the body: one is not there, or its value tells no shape.
_MISSING = frozenset({"missing", "union_tag_not_found"})
_TAGS = frozenset({"union_tag_invalid", "union_tag_not_found"})
_BOUNDS = {
    "greater_than_equal": (">=", "ge"),
    "less_than_equal": ("<=", "le"),
}
#: Characters of a wrong value that are told back.
MAX_SHOWN = 100


def _got(value: Any) -> str:
    return f"but got {_shown(value)} instead."


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"'{value[:MAX_SHOWN]}{'…' if len(value) > MAX_SHOWN else ''}'"
    return str(value) if isinstance(value, int | float) else _type_of(value)


def _type_of(value: Any) -> str:
    """Name the JSON type of a value."""
    if value is None:
        return "null"
    named = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "an array"}
    return named.get(type(value), "an object")


def _path(item: ErrorDetails, data: Any) -> list[str]:
    """Return the part of pydantic's location that is in the body: it also names the shapes it tried."""
    location, missing = item["loc"], item["type"] in _MISSING
    if item["type"] in _TAGS:
        # The member that tells several shapes apart, which pydantic writes as in a program.
        location = (*location, item["ctx"]["discriminator"].strip("'"))
    path: list[str] = []
    for at, step in enumerate(location, 1):
        inside = data.get(step, _NOTHING) if isinstance(data, dict) else _NOTHING
        if isinstance(data, list) and isinstance(step, int) and step < len(data):
            inside = data[step]
        if inside is not _NOTHING:
            data = inside
        elif not (missing and at == len(location)):
            continue
        path.append(str(step))
    return path
