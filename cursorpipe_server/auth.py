"""Who may use the server, and who it is that uses it."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from cursorpipe_server.credentials import presented_keys
from cursorpipe_server.errors import BearerError
from cursorpipe_server.keys import CLIENT
from cursorpipe_server.live import LiveSettings
from cursorpipe_server.routes import is_public


def bearer_auth(live: LiveSettings) -> Middleware:
    """Make the middleware that lets through only what carries a token, or needs none.

    Without any tokens everything passes. The owner of the token becomes the request's client. A request
    with two different keys, right or wrong, does not know who it is: it is refused.
    """

    @web.middleware
    async def require_token(request: web.Request, handler: Handler) -> web.StreamResponse:
        tokens = live.tokens
        if tokens and not is_public(request):
            presented = presented_keys(request)
            owners = {tokens.owner(key) for key in presented}
            owner = owners.pop() if len(owners) == 1 else None
            if owner is None:
                raise BearerError(given=bool(presented))
            request[CLIENT] = owner
        return await handler(request)

    return require_token
