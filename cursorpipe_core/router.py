"""Leads a request to the backend that its model and the strategy ask for, and tries once more."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from cursorpipe_core.bounds import bounded
from cursorpipe_core.catalogue import Catalogue
from cursorpipe_core.completion import (
    Backend,
    Began,
    CompletionEvent,
    CompletionRequest,
    Finish,
    FinishReason,
    Limits,
    Model,
    TextDelta,
)
from cursorpipe_core.config import AUTO_MODEL, AgentSettings, Strategy, SupervisorSettings, is_model_name
from cursorpipe_core.errors import (
    AgentCrashError,
    AgentError,
    AgentNotFoundError,
    AgentTimeoutError,
    AgentUnavailableError,
    AuthenticationError,
    InvalidOutputError,
    InvalidRequestError,
    NetworkError,
    SessionError,
)
from cursorpipe_core.instance import Instance
from cursorpipe_core.limits import Limiter
from cursorpipe_core.preflight import AgentDescription, describe_agent
from cursorpipe_core.prompt import Prompt, render
from cursorpipe_core.runner import SubprocessRunner
from cursorpipe_core.snapshot import Snapshot
from cursorpipe_core.supervisor import Supervisor
from cursorpipe_core.turn import Clocks, Dialogue, Turn
from cursorpipe_core.warm import WarmModels
from cursorpipe_core.worker import AgentWorker

if TYPE_CHECKING:
    from cursorpipe_core.structured import AnswerFormat, Reading

logger = logging.getLogger(__name__)

Begun = TypeVar("Begun")

#: Seconds before the second try after a loss of the connection to Cursor, which may pass.
NETWORK_PAUSE_S = 1.0

#: Failures of one process or one moment: another try, elsewhere if there is an elsewhere, may do better.
_WORTH_A_RETRY = (AgentCrashError, AgentTimeoutError, SessionError, NetworkError)
#: Failures of ACP that print mode does not share: it needs no worker, and finds some logins that ACP
#: does not (CLI contract §4.2).
_WORTH_A_FALLBACK = (*_WORTH_A_RETRY, AgentUnavailableError, AuthenticationError)


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
        self._warm = WarmModels(agent, supervision, self._instance)
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
            await self._stack.enter_async_context(self._warm)
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
        self._warm.adopt(agent, supervision)
        self._runner.adopt(
            agent, max_processes=supervision.max_subprocesses, max_waiting=supervision.max_queue
        )
        self._catalogue.adopt(agent)

    def route(self, model: str | None) -> Route:
        """Decide by the strategy and the model; raises InvalidRequestError for what cannot be a name."""
        model = None if model is None else self._catalogue.resolve(model)
        if model is None or model == AUTO_MODEL:
            subprocess = self._strategy is Strategy.SUBPROCESS
            return Route(Backend.SUBPROCESS if subprocess else Backend.ACP, None, ignored_model=False)
        if not is_model_name(model):
            raise InvalidRequestError("The model is not a name that a model can have.", param="model")
        if self._strategy is Strategy.ACP:
            return Route(Backend.ACP, None, ignored_model=True)
        warm = self._strategy is Strategy.AUTO and self._warm.covers(model)
        return Route(Backend.ACP if warm else Backend.SUBPROCESS, model, ignored_model=False)

    def complete(self, request: CompletionRequest) -> AsyncGenerator[list[CompletionEvent], None]:
        """Answer a request: batches of events, those that were ready together in one list.

        The first event is Began, the last is Finish, with one Usage before it. A failure raises, with
        ``begun`` set on it if any event came before. What fails before that is tried once more where
        that can help: on another worker, or under `auto` in print mode; after it never, because agents
        have side effects. Closing the generator stops the agent. Raises InvalidRequestError at once for
        a model that cannot be one and a schema that is none.
        """
        route = self.route(request.model)
        wanted = _wanted_format(request)
        prompt = render(wanted.instruct(request.messages) if wanted else request.messages)
        attempt = _Attempt(route, prompt, request, self._clocks)
        events = self._attempts(attempt) if wanted is None else self._formatted(attempt, wanted)
        if request.limits == Limits():
            return events
        return _limited(events, Limiter(request.limits, prompt_bytes=prompt.size))

    async def _attempts(self, attempt: _Attempt) -> AsyncGenerator[list[CompletionEvent], None]:
        """Yield the events of one turn, on a second try if it has to be."""
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
                # Before another place is asked for: the one that is held may be the only one.
                attempt.end_dialogue()
                if attempt.begun or not self._prepare_retry(attempt, exc):
                    raise exc.of_request(begun=attempt.begun) from exc
                logger.info("one more try, by %s: %s", attempt.backend, exc)
                if isinstance(exc, NetworkError):
                    await asyncio.sleep(min(NETWORK_PAUSE_S, attempt.seconds_left()))
            else:
                return

    async def _formatted(
        self, attempt: _Attempt, wanted: AnswerFormat
    ) -> AsyncGenerator[list[CompletionEvent], None]:
        """Yield the events of an answer in a format: its text at once and only when it is valid.

        An answer that is not valid is corrected once, in the same session.
        """
        answer = wanted.gather()
        try:
            async with aclosing(self._attempts(attempt)) as batches:
                async for batch in batches:
                    if passed := answer.take(batch):
                        yield passed
            text = answer.text()
            reading = await _check(attempt, wanted, text)
            if reading.violations and answer.reason is FinishReason.STOP:
                logger.info("the answer is corrected: %d violations", len(reading.violations))
                correction = Prompt(wanted.correction(reading.violations))
                turn = self._turn(attempt, correction)
                attempt.go_on(correction, turn)
                try:
                    while batch := await turn.read():
                        if passed := answer.take(batch):
                            yield passed
                finally:
                    turn.close()
                text = answer.text()
                reading = await _check(attempt, wanted, text)
            if answer.reason is FinishReason.STOP and reading.violations:
                raise InvalidOutputError(reading.violations)
        except AgentError as exc:
            raise exc.of_request(begun=attempt.begun) from exc
        finally:
            attempt.end_dialogue()
        # What the agent itself cut short or refused to say is passed on as it is.
        whole = answer.reason is FinishReason.STOP
        yield [TextDelta([reading.text if whole else text]), answer.usage, Finish(answer.reason)]

    async def with_effort(self, model: str, effort: str) -> str | None:
        """Return the variant of a model that thinks this hard; None if there is none, or nobody knows."""
        if self._strategy is Strategy.ACP:
            return None
        return await self._catalogue.with_effort(model, effort)

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
            workers=[*workers, *self._warm.snapshot()],
            draining=self._supervisor.draining + self._warm.draining,
            subprocesses=self._runner.in_flight,
            waiting=self._supervisor.waiting + self._warm.waiting + self._runner.waiting,
        )

    async def _begin(self, attempt: _Attempt) -> Turn:
        """Begin a turn by the attempt's backend; raises what keeps it from beginning."""
        turn = self._turn(attempt, attempt.prompt)
        try:
            attempt.dialogue = await self._dialogue(attempt, turn)
        except BaseException:
            turn.close()
            raise
        return turn

    async def _dialogue(self, attempt: _Attempt, turn: Turn) -> Dialogue:
        """Begin a turn: at once where there is a place and a session, else within the request's time."""
        prompt, keep = attempt.prompt, attempt.keep
        if attempt.backend is Backend.ACP:
            worker = self._lease_now(attempt)
            if worker is None:
                worker = await attempt.in_time(self._lease(attempt))
            attempt.worker = worker
            begun = worker.begin_now(prompt, turn, keep=keep)
            if begun is not None:
                return begun
            return await attempt.in_time(worker.begin(prompt, turn, keep=keep))
        return await attempt.in_time(
            self._runner.begin(
                attempt.model,
                prompt,
                turn,
                client=attempt.client,
                timeout_s=self._queue_timeout_s,
                keep=keep,
            )
        )

    def _lease_now(self, attempt: _Attempt) -> AgentWorker | None:
        if attempt.model is None:
            return self._supervisor.lease_now(other_than=attempt.worker)
        return self._warm.lease_now(attempt.model, other_than=attempt.worker)

    async def _lease(self, attempt: _Attempt) -> AgentWorker:
        if attempt.model is None:
            return await self._supervisor.lease(
                attempt.client, self._queue_timeout_s, other_than=attempt.worker
            )
        return await self._warm.lease(
            attempt.model, attempt.client, self._queue_timeout_s, other_than=attempt.worker
        )

    @staticmethod
    def _turn(attempt: _Attempt, prompt: Prompt) -> Turn:
        return Turn(prompt_bytes=prompt.size, clocks=attempt.clocks, left_s=attempt.seconds_left())

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

    def __init__(self, route: Route, prompt: Prompt, request: CompletionRequest, clocks: Clocks) -> None:
        self.backend = route.backend
        self.model = route.model
        self.prompt = prompt
        self.client = request.client
        #: An answer in a format may have to be corrected where it was given.
        self.keep = request.answer_format is not None
        if request.timeout_s is not None and request.timeout_s < clocks.total_s:
            clocks = replace(clocks, total_s=request.timeout_s)
        self.clocks = clocks
        self.worker: AgentWorker | None = None
        self.prompted = False
        self.begun = False
        self.retried = False
        self.dialogue: Dialogue | None = None
        self._deadline = time.monotonic() + self.clocks.total_s

    def seconds_left(self) -> float:
        return self._deadline - time.monotonic()

    async def in_time(self, work: Awaitable[Begun]) -> Begun:
        """Wait for a step of the beginning, at most for the rest of the request's time."""
        async with bounded("request", self.seconds_left(), of=self.clocks.total_s):
            return await work

    def go_on(self, prompt: Prompt, turn: Turn) -> None:
        """Begin another turn where the last one was; there was one."""
        if self.dialogue is not None:
            self.dialogue.go_on(prompt, turn)

    def end_dialogue(self) -> None:
        if self.dialogue is not None:
            self.dialogue.close()
            self.dialogue = None


async def _check(attempt: _Attempt, wanted: AnswerFormat, text: str) -> Reading:
    """Read an answer in its format, in a thread, within the time that the request has left."""
    async with bounded("request", attempt.seconds_left(), of=attempt.clocks.total_s):
        return await asyncio.to_thread(wanted.read, text)


def _wanted_format(request: CompletionRequest) -> AnswerFormat | None:
    if request.answer_format is None:
        return None
    # Here and not above: what checks schemas takes long to load, and few ever ask for it.
    from cursorpipe_core.structured import AnswerFormat  # noqa: PLC0415

    return AnswerFormat(request.answer_format)


async def _limited(
    events: AsyncGenerator[list[CompletionEvent], None], limiter: Limiter
) -> AsyncGenerator[list[CompletionEvent], None]:
    """Pass events on until a limit is met; the agent is stopped then."""
    async with aclosing(events):
        async for batch in events:
            if passed := limiter.apply(batch):
                yield passed
            if limiter.over:
                return
