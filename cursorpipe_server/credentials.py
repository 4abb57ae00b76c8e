"""The keys that a request presents, and whose its turns are by them."""

from __future__ import annotations

import hashlib

from aiohttp import web

from cursorpipe_server.keys import CLIENT


def presented_keys(request: web.Request) -> list[str]:
    """Return every key that a request presents, in whatever header."""
    keys = request.headers.getall("x-api-key", [])
    for given in request.headers.getall("Authorization", []):
        scheme, _, token = given.partition(" ")
        if scheme.lower() == "bearer":
            keys = [*keys, token.strip()]
    return [key for key in keys if key]


def owner_of(request: web.Request) -> str:
    """Return who alone may go on with what a request begins: its client, by the very key it presents."""
    keys = "\n".join(sorted(set(presented_keys(request))))
    # Bytes that are no UTF-8 are halves of surrogate pairs by now.
    digest = hashlib.sha256(keys.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{request[CLIENT]} {digest}"
