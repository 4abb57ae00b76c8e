"""The names under which the app, and a request, keep what handlers need."""

from aiohttp import web

from cursorpipe_core import Router
from cursorpipe_server.inflight import InFlight
from cursorpipe_server.live import LiveSettings

SETTINGS = web.AppKey("settings", LiveSettings)
ROUTER = web.AppKey("router", Router)
IN_FLIGHT = web.AppKey("in_flight", InFlight)

#: Whose request it is: the name of its token, or else the address it comes from.
CLIENT = web.RequestKey("client", str)
STARTED = web.RequestKey("started", float)
