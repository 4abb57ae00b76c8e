"""Leads a request to the backend that its model and the strategy ask for, and tries once more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cursorpipe_core.attempt import Attempt
from cursorpipe_core.catalogue import Catalogue
from cursorpipe_core.completion import (
    Backend,
    CompletionEvent,
    CompletionRequest,
    Course,
    Limits,
    Model,
    ToolUse,
)
from cursorpipe_core.config import (
    AUTO_MODEL,
    AgentSettings,
    Strategy,
    SupervisorSettings,
    ToolsMode,
    is_model_name,
)
from cursorpipe_core.counts import Counts
from cursorpipe_core.description import AgentDescription, describe_agent
from cursorpipe_core.endpoint import ToolBridge
from cursorpipe_core.errors import (
    AgentError,
    AgentNotFoundError,
    AgentUnavailableError,
    InvalidRequestError,
    NetworkError,
    QueueTimeoutError,
    ToolsUnavailableError,
)
from cursorpipe_core.instance import Instance
from cursorpipe_core.limits import Limiter
from cursorpipe_core.prompt import render
from cursorpipe_core.retries import prepare_retry
from cursorpipe_core.runner import SubprocessRunner
from cursorpipe_core.snapshot import Snapshot, ToolsSnapshot
from cursorpipe_core.supervisor import BOOT_ERRORS, Supervisor
from cursorpipe_core.tool_notes import with_notes
from cursorpipe_core.tool_prompt import describe, with_tools_by_prompt
from cursorpipe_core.tool_turns import ToolTurns
from cursorpipe_core.turn import Clocks, Dialogue, Turn
from cursorpipe_core.warm import WarmModels
from cursorpipe_core.worker import AgentWorker

if TYPE_CHECKING:
    from cursorpipe_core.structured import AnswerFormat

logger = logging.getLogger(__name__)

#: Seconds before the second try after a loss of the connection to Cursor, which may pass.
NETWORK_PAUSE_S = 1.0

#: What the names of the models have in them that do not trust tools in a prompt.
_WARY_FAMILIES = ("claude", "sonnet", "opus", "haiku")


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
        self._supervision = supervision
        self._strategy = supervision.strategy
        self._queue_timeout_s = supervision.queue_timeout_s
        self._clocks = _clocks(agent)
        self._instance = Instance(agent.state_dir)
        self._counts = Counts()
        self._supervisor = Supervisor(agent, supervision, self._instance, self._counts)
        self._warm = WarmModels(agent, supervision, self._instance, self._counts)
        self._runner = SubprocessRunner(
            agent,
            self._instance,
            self._counts.subprocess,
            max_processes=supervision.max_subprocesses,
            max_waiting=supervision.max_queue,
        )
        self._catalogue = Catalogue(agent, self._instance)
        self._tools: ToolTurns | None = None
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
        self._supervision = supervision
        self._queue_timeout_s = supervision.queue_timeout_s
        self._clocks = _clocks(agent)
        self._supervisor.adopt(agent, supervision)
        self._warm.adopt(agent, supervision)
        self._runner.adopt(
            agent, max_processes=supervision.max_subprocesses, max_waiting=supervision.max_queue
        )
        self._catalogue.adopt(agent)

    @asynccontextmanager
    async def serve_tools(self, bridge: ToolBridge) -> AsyncIterator[None]:
        """Offer callers' tools to agents by ``bridge`` until this is left, as far as the settings want it."""
        by_prompt = self._supervision.tools in (ToolsMode.PROMPT, ToolsMode.OFF)
        if by_prompt or self._strategy is Strategy.SUBPROCESS:
            yield
            return
        tools = ToolTurns(
            bridge,
            agent=self._agent,
            settings=self._supervision,
            any_worker=self._supervisor.any_worker,
            describe=self.describe_agent,
        )
        async with tools:
            self._tools = tools
            try:
                yield
            finally:
                self._tools = None

    @property
    def takes_tools(self) -> bool:
        """Whether an answer can call its caller's tools, in whatever way."""
        return self._supervision.tools is not ToolsMode.OFF

    def route(self, model: str | None, *, tools: bool = False) -> Route:
        """Decide by the strategy and the model; raises InvalidRequestError for what cannot be a name.

        With ``tools`` of the caller's a model goes to a warm worker of its own: print mode takes none.
        """
        if tools and self._strategy is Strategy.SUBPROCESS and self._supervision.tools is ToolsMode.MCP:
            raise InvalidRequestError("Tools need ACP, which CURSORPIPE_STRATEGY leaves out.", param="tools")
        tools = tools and self._tools is not None
        model = None if model is None else self._catalogue.resolve(model)
        if model is None or model == AUTO_MODEL:
            subprocess = self._strategy is Strategy.SUBPROCESS
            return Route(Backend.SUBPROCESS if subprocess else Backend.ACP, None, ignored_model=False)
        if not is_model_name(model):
            raise InvalidRequestError("The model is not a name that a model can have.", param="model")
        if self._strategy is Strategy.ACP:
            return Route(Backend.ACP, None, ignored_model=True)
        warm = tools or (self._strategy is Strategy.AUTO and self._warm.covers(model))
        return Route(Backend.ACP if warm else Backend.SUBPROCESS, model, ignored_model=False)

    def complete(
        self, request: CompletionRequest, course: Course | None = None
    ) -> AsyncGenerator[list[CompletionEvent], None]:
        """Answer a request: batches of events, those that were ready together in one list.

        The first event is Began, the last is Finish, with one Usage before it. A failure raises, with
        ``begun`` set on it if any event came before. What fails before that is tried once more where
        that can help: on another worker, or under `auto` in print mode; after it never, because agents
        have side effects. Closing the generator stops the agent. ``course`` tells how far the request has
        come. Raises InvalidRequestError at once for a model that cannot be one and a schema that is none.
        """
        use = request.tool_use
        route = self.route(request.model, tools=use is not None)
        wanted = _wanted_format(request)
        messages = request.messages
        if use is not None:
            messages = with_notes(request, use) if self._tools else [describe(use), *messages]
        prompt = render(wanted.instruct(messages) if wanted else messages)
        # An answer in a format, and one in which blocks are calls, may have to be corrected.
        keep = wanted is not None or (use is not None and self._tools is None)
        attempt = Attempt(
            route.backend,
            route.model,
            prompt,
            request,
            course=Course() if course is None else course,
            clocks=self._clocks,
            keep=keep,
        )
        if use is None:
            if self._tools is not None:
                self._tools.let_go(request)
            events = self._attempts(attempt)
        elif self._tools is None:
            events = with_tools_by_prompt(attempt, use, self._attempts(attempt))
        else:
            events = self._with_tools(self._tools, attempt, request, use)
        if wanted is not None:
            events = _formatted(attempt, wanted, events)
        if request.limits == Limits():
            return events
        return _limited(events, Limiter(request.limits, prompt_bytes=prompt.size))

    async def _with_tools(
        self, tools: ToolTurns, attempt: Attempt, request: CompletionRequest, use: ToolUse
    ) -> AsyncGenerator[list[CompletionEvent], None]:
        """Yield the events of an answer that may call tools, by MCP or, as a last resort, by the prompt."""
        by_mcp = tools.complete(
            attempt,
            request,
            use,
            lease=self._lease,
            may_retry=partial(prepare_retry, fall_back=False),
        )
        try:
            async with aclosing(by_mcp) as batches:
                async for batch in batches:
                    yield batch
        except (ToolsUnavailableError, AgentUnavailableError) as exc:
            if attempt.begun or self._supervision.tools is ToolsMode.MCP or _is_wary(attempt.model):
                raise
            if isinstance(exc, AgentUnavailableError):
                if isinstance(exc, QueueTimeoutError) or not self._serves_without_workers:
                    raise
                attempt.lead_to(Backend.SUBPROCESS)
        else:
            return
        messages = [describe(use), *request.messages]
        wanted = _wanted_format(request)
        attempt.prompt = render(wanted.instruct(messages) if wanted else messages)
        attempt.keep = True
        async with aclosing(with_tools_by_prompt(attempt, use, self._attempts(attempt))) as batches:
            async for batch in batches:
                yield batch

    async def _attempts(self, attempt: Attempt) -> AsyncGenerator[list[CompletionEvent], None]:
        """Yield the events of one turn, on a second try if it has to be."""
        while True:
            try:
                turn = await self._begin(attempt)
                attempt.asked()
                try:
                    while batch := await turn.read():
                        if not attempt.begun:
                            if attempt.backend is Backend.SUBPROCESS:
                                self._runner.trust()
                            batch.insert(0, attempt.began())
                        yield batch
                finally:
                    turn.close()
            except AgentError as exc:
                # Before another place is asked for: the one that is held may be the only one.
                attempt.end_dialogue()
                if attempt.backend is Backend.SUBPROCESS and not attempt.begun:
                    self._runner.doubt(exc)
                if attempt.begun or not prepare_retry(
                    attempt, exc, fall_back=self._strategy is Strategy.AUTO
                ):
                    raise exc.of_request(begun=attempt.begun) from exc
                logger.info("one more try, by %s: %s", attempt.backend, exc.plain)
                if isinstance(exc, NetworkError):
                    await asyncio.sleep(min(NETWORK_PAUSE_S, attempt.seconds_left()))
            else:
                return

    async def with_effort(self, model: str, effort: str) -> str | None:
        """Return the variant of a model that thinks this hard; None if there is none, or nobody knows."""
        if self._strategy is Strategy.ACP:
            return None
        return await self._catalogue.with_effort(model, effort)

    async def models(self) -> Sequence[Model]:
        """Return the models that can be asked for, `auto` first; raises AgentError if nobody knows."""
        return await self._catalogue.models()

    def known_model(self, name: str) -> str | None:
        """Return the model that a name stands for, if it is in the list that was last asked for."""
        return self._catalogue.known(name)

    async def describe_agent(self) -> AgentDescription:
        """Find the CLI and ask for its version; raises AgentNotFoundError if there is none."""
        return await describe_agent(self._agent, self._instance)

    def snapshot(self) -> Snapshot:
        """Describe the agent side now."""
        ready, reason = True, None
        if self._strategy is Strategy.SUBPROCESS:
            workers = []
            try:
                self._agent.command()
            except AgentNotFoundError as exc:
                ready, reason = False, str(exc)
        else:
            workers = self._supervisor.snapshot()
            if not self._supervisor.ready:
                reason = next(
                    (worker.reason for worker in workers if worker.reason), "The agents are starting."
                )
                ready = self._serves_without_workers
                if ready:
                    reason = f"No worker stays alive, each request gets a process of its own. {reason}"
        waiting_acp = self._supervisor.waiting + self._warm.waiting
        return Snapshot(
            ready=ready,
            reason=reason,
            strategy=self._strategy,
            workers=[*workers, *self._warm.snapshot()],
            draining=self._supervisor.draining + self._warm.draining,
            subprocesses=self._runner.in_flight,
            waiting=waiting_acp + self._runner.waiting,
            tools=self._tools_snapshot(),
            waiting_acp=waiting_acp,
            history=self._counts.snapshot(),
        )

    @property
    def _serves_without_workers(self) -> bool:
        """Whether print mode serves what all workers are too broken for, as far as is known."""
        why = self._supervisor.given_up
        shared = why is None or isinstance(why, BOOT_ERRORS)
        return self._strategy is Strategy.AUTO and not shared and self._runner.trusted

    def _tools_snapshot(self) -> ToolsSnapshot:
        if self._tools is not None:
            return self._tools.snapshot()
        return ToolsSnapshot(channel=None if self._supervision.tools is ToolsMode.OFF else "prompt")

    async def _begin(self, attempt: Attempt) -> Turn:
        """Begin a turn by the attempt's backend; raises what keeps it from beginning."""
        turn = attempt.turn(attempt.prompt)
        try:
            attempt.dialogue = await self._dialogue(attempt, turn)
        except BaseException:
            turn.close()
            raise
        return turn

    async def _dialogue(self, attempt: Attempt, turn: Turn) -> Dialogue:
        """Begin a turn: at once where there is a place and a session, else within the request's time."""
        prompt, keep = attempt.prompt, attempt.keep
        if attempt.backend is Backend.ACP:
            worker = attempt.placed(await self._lease(attempt))
            begun = worker.begin_now(prompt, turn, keep=keep)
            if begun is not None:
                return begun
            return await attempt.in_time(worker.begin(prompt, turn, keep=keep))
        begin = self._runner.begin(
            attempt.model,
            prompt,
            turn,
            client=attempt.client,
            timeout_s=self._queue_timeout_s,
            keep=keep,
        )
        dialogue = await attempt.in_time(begin)
        attempt.waited()
        return dialogue

    async def _lease(self, attempt: Attempt) -> AgentWorker:
        """Return a worker with a place reserved: at once if there is one, else within the request's time."""
        timeout_s, before = self._queue_timeout_s, attempt.worker
        if attempt.model is None:
            worker = self._supervisor.lease_now(other_than=before)
            lease = partial(self._supervisor.lease, attempt.client)
        else:
            worker = self._warm.lease_now(attempt.model, other_than=before)
            lease = partial(self._warm.lease, attempt.model, attempt.client)
        if worker is not None:
            return worker
        return await attempt.in_time(lease(timeout_s, other_than=before))


def _clocks(agent: AgentSettings) -> Clocks:
    return Clocks(agent.first_event_timeout_s, agent.idle_timeout_s, agent.request_timeout_s)


def _wanted_format(request: CompletionRequest) -> AnswerFormat | None:
    if request.answer_format is None:
        return None
    # Here and not above: what checks schemas takes long to load, and few ever ask for it.
    from cursorpipe_core.structured import AnswerFormat  # noqa: PLC0415

    return AnswerFormat(request.answer_format)


def _formatted(
    attempt: Attempt, wanted: AnswerFormat, events: AsyncGenerator[list[CompletionEvent], None]
) -> AsyncGenerator[list[CompletionEvent], None]:
    from cursorpipe_core.formatted import formatted  # noqa: PLC0415 — as above

    return formatted(attempt, wanted, events)


def _is_wary(model: str | None) -> bool:
    """Whether a model is likely to take tools in its prompt for an attempt to mislead it."""
    return model is not None and any(family in model.lower() for family in _WARY_FAMILIES)


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
