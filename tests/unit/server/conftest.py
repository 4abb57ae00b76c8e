"""The server in front of a scripted router."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from cursorpipe_core import (
    AgentDescription,
    AgentSettings,
    Backend,
    Began,
    CompletionEvent,
    CompletionRequest,
    Course,
    Finish,
    FinishReason,
    Model,
    Route,
    Router,
    SlotState,
    Snapshot,
    Strategy,
    SupervisorSettings,
    TextDelta,
    ToolBridge,
    ToolsSnapshot,
    Usage,
    WorkerSnapshot,
)
from cursorpipe_server.app import create_app
from cursorpipe_server.config import ServerSettings, Settings
from cursorpipe_server.live import LiveSettings
from tests.server import own_client

BEGAN = Began(Backend.ACP, None)
USAGE = Usage(12, 3, 2, 1, estimated=True)
FINISH = Finish(FinishReason.STOP)
HELLO: list[CompletionEvent] = [BEGAN, TextDelta(["Hel"]), TextDelta(["lo"]), USAGE, FINISH]

#: What a script is made of: a batch of events, a failure, or something to wait for.
Step = list[CompletionEvent] | BaseException | asyncio.Event


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take the settings out of the environment, and work where there is no file of them."""
    for name in list(os.environ):
        if name.startswith(("CURSORPIPE_", "CURSOR_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


class ScriptedRouter:
    """Says what its script says, and remembers what it was asked and how the answer ended."""

    def __init__(self) -> None:
        self.script: Iterable[Step] = [HELLO]
        self.asked: list[CompletionRequest] = []
        self.script_of: Callable[[], Iterable[Step]] = lambda: self.script
        self.led_to: Backend | None = Backend.ACP
        self.waited_s: tuple[float | None, float | None] = (None, None)
        self.open = 0
        self.closed = asyncio.Event()
        self.adopted: list[tuple[AgentSettings, SupervisorSettings]] = []
        self.catalogue: Sequence[Model] | Exception = [Model("auto", "Auto"), Model("a/b[c=d]", "A")]
        self.strategy = Strategy.AUTO
        self.tools_taken = True
        self.description: AgentDescription | Exception | asyncio.Event = AgentDescription(
            "/opt/agent", "2026.09.23-86fc751"
        )
        self.described = 0
        worker = WorkerSnapshot(0, SlotState.READY, None, 42, 0, 1, 2, ("a note",))
        self.state = Snapshot(
            ready=True,
            reason=None,
            strategy=self.strategy,
            workers=(worker,),
            draining=0,
            subprocesses=0,
            waiting=0,
            tools=ToolsSnapshot("http", proven=True),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    def adopt(self, agent: AgentSettings, supervision: SupervisorSettings) -> None:
        self.adopted.append((agent, supervision))

    @asynccontextmanager
    async def serve_tools(self, bridge: ToolBridge) -> AsyncIterator[None]:
        del bridge
        yield

    @property
    def takes_tools(self) -> bool:
        return self.tools_taken

    def route(self, model: str | None, *, tools: bool = False) -> Route:
        del tools
        ignored = self.strategy is Strategy.ACP and model is not None
        return Route(Backend.ACP, None, ignored_model=ignored)

    async def complete(
        self, request: CompletionRequest, course: Course
    ) -> AsyncGenerator[list[CompletionEvent], None]:
        self.asked.append(request)
        course.backend, course.model = self.led_to, request.model
        course.queued_s, course.prompted_s = self.waited_s
        self.open += 1
        try:
            for step in self.script_of():
                if isinstance(step, BaseException):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    for began in step:
                        if isinstance(began, Began):
                            course.backend, course.model = began.backend, began.model
                            course.prompted_s = course.prompted_s or 0.0
                    yield list(step)
        finally:
            self.open -= 1
            self.closed.set()

    async def with_effort(self, model: str, effort: str) -> str | None:
        return f"{model}-{effort}" if model == "thinker" else None

    def known_model(self, name: str) -> str | None:
        names = [] if isinstance(self.catalogue, Exception) else [model.id for model in self.catalogue]
        return name if name in names else None

    async def models(self) -> Sequence[Model]:
        if isinstance(self.catalogue, Exception):
            raise self.catalogue
        return self.catalogue

    async def describe_agent(self) -> AgentDescription:
        self.described += 1
        if isinstance(self.description, asyncio.Event):
            await self.description.wait()
        if isinstance(self.description, Exception):
            raise self.description
        assert isinstance(self.description, AgentDescription)
        return self.description

    def snapshot(self) -> Snapshot:
        return self.state


Client = TestClient[web.Request, web.Application]
MakeClient = Callable[..., Awaitable[Client]]


@pytest.fixture
async def router() -> ScriptedRouter:
    return ScriptedRouter()


@pytest.fixture
def make_client(router: ScriptedRouter, aiohttp_client: AiohttpClient) -> MakeClient:
    async def make(**server: Any) -> Client:
        settings = Settings(
            server=ServerSettings(**server), agent=AgentSettings(), supervision=SupervisorSettings()
        )
        return await own_client(aiohttp_client, create_app(LiveSettings(settings), cast("Router", router)))

    return make


@pytest.fixture
async def client(make_client: MakeClient) -> Client:
    return await make_client()


def ask(text: str = "Hello!", **fields: Any) -> dict[str, Any]:
    """Return a request for an answer to one message."""
    return {"messages": [{"role": "user", "content": text}], **fields}
