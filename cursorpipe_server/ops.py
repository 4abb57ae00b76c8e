"""What operators and their machines ask: is it up, can it serve, what does it offer."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from importlib import import_module
from typing import Any

from aiohttp import web

from cursorpipe_core import Snapshot, __version__
from cursorpipe_server.keys import IN_FLIGHT, ROUTER
from cursorpipe_server.openapi import openapi_document


async def health(request: web.Request) -> web.Response:
    """Say that the server is up, whatever the agents do."""
    del request
    return web.json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """Say whether a request would be served now, and what each worker does."""
    snapshot = current_snapshot(request.app)
    return web.json_response(readiness(snapshot), status=200 if snapshot.ready else 503)


def current_snapshot(app: web.Application) -> Snapshot:
    """Return what the agent side looks like; a server that is stopping is not ready, whatever that says."""
    snapshot = app[ROUTER].snapshot()
    if app[IN_FLIGHT].closing:
        return replace(snapshot, ready=False, reason="The server is stopping.")
    return snapshot


def readiness(snapshot: Snapshot) -> dict[str, Any]:
    """Return what `/ready` tells of a snapshot; the numbers for graphs are left to `/metrics`."""
    state = asdict(snapshot)
    del state["history"], state["waiting_acp"]
    return {"version": __version__, **state}


async def metrics(request: web.Request) -> web.Response:
    """Tell Prometheus the numbers of the server and of the agent side."""
    # Read when it is first asked for, as not everybody has a Prometheus.
    module = await asyncio.to_thread(import_module, "cursorpipe_server.metrics")
    body, content_type = module.exposition(request.app, accept=request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})


async def openapi(request: web.Request) -> web.Response:
    """Describe this API."""
    del request
    return web.json_response(openapi_document(version=__version__))
