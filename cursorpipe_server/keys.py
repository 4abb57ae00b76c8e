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


class Told(Protocol):
    """An answer, as far as the access line tells of it."""

    model: str

    @property
    def backend(self) -> str | None:
        """The backend that serves it, once one does."""


#: What a request's line tells beside HTTP's own: the answer, and how it ended where no status says it.
ANSWER: web.RequestKey[Told] = web.RequestKey("answer", Told)
OUTCOME = web.RequestKey("outcome", str)
#: The answers of which that answer is made.
CHOICES: web.RequestKey[Choices] = web.RequestKey("choices", Choices)
#: The code of the error that a request ended with, or CLIENT_LEFT, or OK of `measures`.
CODE = web.RequestKey("code", str)
CLIENT_LEFT = "client_left"
#: That error in words for those who run the server: nothing of what was asked or answered.
WORDS = web.RequestKey("words", str)
