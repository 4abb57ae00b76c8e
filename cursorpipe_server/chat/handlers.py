"""The handler of chat completions."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from cursorpipe_core import Course, Role
from cursorpipe_server.answering import send_answer, unheard
from cursorpipe_server.body import read_body
from cursorpipe_server.chat.schemas import ChatCompletionRequest
from cursorpipe_server.chat.tools import refused_tools
from cursorpipe_server.chat.translate import ChatAnswer, ignored, to_core
from cursorpipe_server.choices import Choices
from cursorpipe_server.credentials import owner_of
from cursorpipe_server.keys import CLIENT, ROUTER, SETTINGS
from cursorpipe_server.log import log_prompt, stages
from cursorpipe_server.patience import patience_s


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """Answer a conversation, whole or as a stream."""
    server = request.app[SETTINGS].settings.server
    router = request.app[ROUTER]
    with stages(enabled=server.enable_profiling) as mark:
        body = await read_body(request, ChatCompletionRequest)
        mark("body read")
        timeout_s = None if body.stream else patience_s(request)
        wanted = to_core(body, client=request[CLIENT], timeout_s=timeout_s)
        if server.log_prompts:
            log_prompt(wanted.messages)
        names = ignored(body)
        if wanted.tool_use is not None and not router.takes_tools:
            names = sorted([*names, refused_tools(body, wanted.tool_use)])
            wanted = replace(wanted, tool_use=None)
        elif wanted.tool_use is not None or wanted.messages[-1].role is Role.TOOL:
            wanted = replace(wanted, owner=owner_of(request))
        if body.reasoning_effort is not None:
            variant = await router.with_effort(body.model or "", body.reasoning_effort)
            if variant is None:
                names.append("reasoning_effort")
            else:
                wanted = replace(wanted, model=variant)
        names = unheard(server, router.route(body.model or None, tools=wanted.tool_use is not None), names)
        course = Course()
        sources = [router.complete(wanted, course) for _ in range(body.n or 1)]
        choices = Choices(sources, course, ignored=names, mark=mark)
        answer = ChatAnswer(body, choices, reasoning=server.reasoning, mark=mark)
        return await send_answer(request, answer, choices, streamed=bool(body.stream))
