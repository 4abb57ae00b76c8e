"""The keys that a request presents, and whose its turns are by them."""

from __future__ import annotations

import base64
import binascii
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


def presented_passwords(request: web.Request) -> list[str]:
    """Return the passwords of HTTP Basic that a request presents: the one thing a browser asks people for."""
    passwords = []
    for given in request.headers.getall("Authorization", []):
        scheme, _, credentials = given.partition(" ")
        if scheme.lower() == "basic":
            try:
                pair = base64.b64decode(credentials.strip(), validate=True).decode()
            except (binascii.Error, ValueError):
                continue
            passwords.append(pair.partition(":")[2])
    return [password for password in passwords if password]


def owner_of(request: web.Request) -> str:
    """Return who alone may go on with what a request begins: its client, by the very key it presents."""
    keys = "\n".join(sorted(set(presented_keys(request))))
    # Bytes that are no UTF-8 are halves of surrogate pairs by now.
    digest = hashlib.sha256(keys.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{request[CLIENT]} {digest}"
