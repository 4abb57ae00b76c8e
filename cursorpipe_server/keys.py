"""The names under which the app, and a request, keep what handlers need."""

from typing import Protocol

from aiohttp import web

from cursorpipe_core import Router
from cursorpipe_server.agent_build import AgentBuild
from cursorpipe_server.choices import Choices
from cursorpipe_server.inflight import InFlight
from cursorpipe_server.live import LiveSettings
from cursorpipe_server.measures import Measures
from cursorpipe_server.recent import Recent

SETTINGS = web.AppKey("settings", LiveSettings)
ROUTER = web.AppKey("router", Router)
IN_FLIGHT = web.AppKey("in_flight", InFlight)
MEASURES = web.AppKey("measures", Measures)
RECENT = web.AppKey("recent", Recent)
AGENT_BUILD = web.AppKey("agent_build", AgentBuild)

#: Whose request it is: the name of its token, or else the address it comes from.
CLIENT = web.RequestKey("client", str)
#: When it came, by the clock of `time.perf_counter`.
STARTED = web.RequestKey("started", float)


class Probe(Protocol):
    """What finds out whether the client of a stream is still there."""

    async def __call__(self) -> None:
        """Send what may stand anywhere in the stream and means nothing."""


#: The probe of a stream that has begun.
PROBE: web.RequestKey[Probe] = web.RequestKey("probe", Probe)


#: The model that a request for an answer names.
MODEL = web.RequestKey("model", str)
#: The answers to it.
CHOICES: web.RequestKey[Choices] = web.RequestKey("choices", Choices)
#: The code of the error that a request ended with, or OK or CLIENT_LEFT of `outcomes`.
CODE = web.RequestKey("code", str)
#: That error in words for those who run the server: nothing of what was asked or answered.
WORDS = web.RequestKey("words", str)
