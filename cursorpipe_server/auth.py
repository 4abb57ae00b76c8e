"""Who may use the server, and who it is that uses it."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from cursorpipe_server.credentials import presented_keys, presented_passwords
from cursorpipe_server.errors import BearerError
from cursorpipe_server.keys import CLIENT
from cursorpipe_server.live import LiveSettings
from cursorpipe_server.routes import is_for_browsers, is_public


def bearer_auth(live: LiveSettings) -> Middleware:
    """Make the middleware that lets through only what carries a token, or needs none.

    Without any tokens everything passes. The owner of the token becomes the request's client. A request
    with two different keys, right or wrong, does not know who it is: it is refused. What people look at in
    a browser takes the token as the password of HTTP Basic too, and only that: a browser presents one to
    the whole server once it has it, whoever makes it ask.
    """

    @web.middleware
    async def require_token(request: web.Request, handler: Handler) -> web.StreamResponse:
        tokens = live.tokens
        if tokens and not is_public(request):
            presented, in_browser = presented_keys(request), is_for_browsers(request)
            if in_browser:
                presented += presented_passwords(request)
            owners = {tokens.owner(key) for key in presented}
            owner = owners.pop() if len(owners) == 1 else None
            if owner is None:
                raise BearerError(given=bool(presented), in_browser=in_browser)
            request[CLIENT] = owner
        return await handler(request)

    return require_token
