"""The status as JSON and as a page."""

from __future__ import annotations

from aiohttp import web

from cursorpipe_server.answering import json_response
from cursorpipe_server.status.facts import as_json, gather
from cursorpipe_server.status.look import CONTENT_SECURITY_POLICY
from cursorpipe_server.status.page import render

#: What is told is of this moment, and for whoever has asked.
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_PAGE_HEADERS = {
    **_HEADERS,
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


async def status(request: web.Request) -> web.Response:
    """Tell what is going on, for programs."""
    return json_response(as_json(await gather(request.app)), headers=_HEADERS)


async def status_page(request: web.Request) -> web.Response:
    """Tell what is going on, for people."""
    text = render(await gather(request.app))
    return web.Response(text=text, content_type="text/html", charset="utf-8", headers=_PAGE_HEADERS)
