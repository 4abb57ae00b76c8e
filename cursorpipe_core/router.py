"""Leads a request to the backend that its model and the strategy ask for, and tries once more."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from cursorpipe_core.bounds import bounded
from cursorpipe_core.catalogue import Catalogue
from cursorpipe_core.completion import Backend, Began, CompletionEvent, CompletionRequest, Model, utf8_length
from cursorpipe_core.config import AUTO_MODEL, AgentSettings, Strategy, SupervisorSettings
from cursorpipe_core.errors import (
    AgentCrashError,
    AgentError,
    AgentNotFoundError,
    AgentTimeoutError,
    AgentUnavailableError,
    AuthenticationError,
    InvalidRequestError,
    NetworkError,
    SessionError,
)
from cursorpipe_core.instance import Instance
from cursorpipe_core.preflight import AgentDescription, describe_agent
from cursorpipe_core.prompt import render
from cursorpipe_core.runner import SubprocessRunner
from cursorpipe_core.snapshot import Snapshot
from cursorpipe_core.supervisor import Supervisor
from cursorpipe_core.turn import Clocks, Turn
from cursorpipe_core.worker import AgentWorker

logger = logging.getLogger(__name__)

#: Seconds before the second try after a loss of the connection to Cursor, which may pass.
NETWORK_PAUSE_S = 1.0

#: Failures of one process or one moment: another try, elsewhere if there is an elsewhere, may do better.
_WORTH_A_RETRY = (AgentCrashError, AgentTimeoutError, SessionError, NetworkError)
#: Failures of ACP that print mode does not share: it needs no worker, and finds some logins that ACP
#: does not (CLI contract §4.2).
_WORTH_A_FALLBACK = (*_WORTH_A_RETRY, AgentUnavailableError, AuthenticationError)

#: What can be a model's name: printable, without spaces, and never an option on a command line.
_MODEL_NAME = re.compile(r"[^\s\x00-\x20\x7f-][^\s\x00-\x20\x7f]{0,255}")


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes first; ``ignored_model``: it names a model that this way cannot honour."""

    backend: Backend
    model: str | None
    ignored_model: bool


class Router:
    """The agent side as a whole: what the server talks to.

    Entering returns at once, the workers get ready behind it; leaving ends every process. Raises
    SettingsError if it cannot have its directories.
    """

    def __init__(self, agent: AgentSettings, supervision: SupervisorSettings) -> None:
        self._agent = agent
        self._strategy = supervision.strategy
        self._queue_timeout_s = supervision.queue_timeout_s
        self._clocks = _clocks(agent)
        self._instance = Instance(agent.state_dir)
        self._supervisor = Supervisor(agent, supervision, self._instance)
        self._runner = SubprocessRunner(
            agent,
            self._instance,
            max_processes=supervision.max_subprocesses,
            max_waiting=supervision.max_queue,
        )
        self._catalogue = Catalogue(agent, self._instance)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._instance)
        await self._stack.enter_async_context(self._runner)
        await self._stack.enter_async_context(self._catalogue)
        if self._strategy is not Strategy.SUBPROCESS:
            await self._stack.enter_async_context(self._supervisor)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def adopt(self, agent: AgentSettings, supervision: SupervisorSettings) -> None:
        """Go on with other limits; requests that are being answered keep the ones they began with.

        Only settings whose ``reload`` is set may differ from those so far.
        """
        self._agent = agent
        self._queue_timeout_s = supervision.queue_timeout_s
        self._clocks = _clocks(agent)
        self._supervisor.adopt(agent, supervision)
        self._runner.adopt(
            agent, max_processes=supervision.max_subprocesses, max_waiting=supervision.max_queue
        )
        self._catalogue.adopt(agent)

    def route(self, model: str | None) -> Route:
        """Decide by the strategy and the model; raises InvalidRequestError for what cannot be a name."""
        if model is None or model == AUTO_MODEL:
            subprocess = self._strategy is Strategy.SUBPROCESS
            return Route(Backend.SUBPROCESS if subprocess else Backend.ACP, None, ignored_model=False)
        if not _MODEL_NAME.fullmatch(model):
            raise InvalidRequestError("The model is not a name that a model can have.", param="model")
        if self._strategy is Strategy.ACP:
            return Route(Backend.ACP, None, ignored_model=True)
        return Route(Backend.SUBPROCESS, model, ignored_model=False)

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[list[CompletionEvent], None]:
        """Answer a request: batches of events, those that were ready together in one list.

        The first event is Began, the last is Finish, with one Usage before it. A failure raises, with
        ``begun`` set on it if any event came before. What fails before that is tried once more where
        that can help: on another worker, or under `auto` in print mode; after it never, because agents
        have side effects. Closing the generator stops the agent.
        """
        route = self.route(request.model)
        prompt = render(request.messages)
        attempt = _Attempt(route.backend, route.model, prompt, request.client, self._clocks)
        while True:
            try:
                turn = await self._begin(attempt)
                attempt.prompted = True
                try:
                    while batch := await turn.read():
                        if not attempt.begun:
                            attempt.begun = True
                            batch.insert(0, Began(attempt.backend, attempt.model))
                        yield batch
                finally:
                    turn.close()
            except AgentError as exc:
                if attempt.begun or not self._prepare_retry(attempt, exc):
                    raise exc.of_request(begun=attempt.begun) from exc
                logger.info("one more try, by %s: %s", attempt.backend, exc)
                if isinstance(exc, NetworkError):
                    await asyncio.sleep(min(NETWORK_PAUSE_S, attempt.seconds_left()))
            else:
                return

    async def models(self) -> Sequence[Model]:
        """Return the models that can be asked for, `auto` first; raises AgentError if nobody knows."""
        return await self._catalogue.models()

    async def describe_agent(self) -> AgentDescription:
        """Find the CLI and ask for its version; raises AgentNotFoundError if there is none."""
        return await describe_agent(self._agent, self._instance)

    def snapshot(self) -> Snapshot:
        """Describe the agent side now."""
        reason = None
        if self._strategy is Strategy.SUBPROCESS:
            workers = []
            try:
                self._agent.command()
            except AgentNotFoundError as exc:
                reason = str(exc)
        else:
            workers = self._supervisor.snapshot()
            if not self._supervisor.ready:
                reason = next(
                    (worker.reason for worker in workers if worker.reason), "The agents are starting."
                )
        return Snapshot(
            ready=reason is None,
            reason=reason,
            strategy=self._strategy,
            workers=workers,
            draining=self._supervisor.draining,
            subprocesses=self._runner.in_flight,
            waiting=self._supervisor.waiting + self._runner.waiting,
        )

    async def _begin(self, attempt: _Attempt) -> Turn:
        """Begin a turn by the attempt's backend; raises what keeps it from beginning."""
        left_s = attempt.seconds_left()
        turn = Turn(prompt_bytes=utf8_length(attempt.prompt), clocks=attempt.clocks, left_s=left_s)
        try:
            async with bounded("request", left_s, of=attempt.clocks.total_s):
                if attempt.backend is Backend.ACP:
                    attempt.worker = await self._supervisor.lease(
                        attempt.client, self._queue_timeout_s, other_than=attempt.worker
                    )
                    await attempt.worker.begin(attempt.prompt, turn)
                else:
                    await self._runner.begin(
                        attempt.model,
                        attempt.prompt,
                        turn,
                        client=attempt.client,
                        timeout_s=self._queue_timeout_s,
                    )
        except BaseException:
            turn.close()
            raise
        return turn

    def _prepare_retry(self, attempt: _Attempt, failure: AgentError) -> bool:
        """Choose how to try again; returns whether to."""
        if attempt.retried or attempt.seconds_left() <= 0:
            return False
        if isinstance(failure, AgentTimeoutError) and attempt.prompted:
            return False  # it may well be at work, silently
        attempt.retried = True
        if attempt.backend is Backend.ACP and self._strategy is Strategy.AUTO:
            attempt.backend = Backend.SUBPROCESS
            return isinstance(failure, _WORTH_A_FALLBACK)
        return isinstance(failure, _WORTH_A_RETRY)


def _clocks(agent: AgentSettings) -> Clocks:
    return Clocks(agent.first_event_timeout_s, agent.idle_timeout_s, agent.request_timeout_s)


class _Attempt:
    """Where one request stands: how it is being tried, and what of its time is left."""

    def __init__(self, backend: Backend, model: str | None, prompt: str, client: str, clocks: Clocks) -> None:
        self.backend = backend
        self.model = model
        self.prompt = prompt
        self.client = client
        self.clocks = clocks
        self.worker: AgentWorker | None = None
        self.prompted = False
        self.begun = False
        self.retried = False
        self._deadline = time.monotonic() + clocks.total_s

    def seconds_left(self) -> float:
        return self._deadline - time.monotonic()
