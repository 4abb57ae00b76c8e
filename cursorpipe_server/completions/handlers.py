"""The handler of text completions."""

from __future__ import annotations

from aiohttp import web

from cursorpipe_core import Course
from cursorpipe_server.answering import send_answer, unheard
from cursorpipe_server.body import read_body
from cursorpipe_server.choices import Choices
from cursorpipe_server.completions.schemas import TextCompletionRequest
from cursorpipe_server.completions.translate import TextAnswer, ignored, to_core
from cursorpipe_server.keys import CLIENT, ROUTER, SETTINGS
from cursorpipe_server.log import log_prompt, stages
from cursorpipe_server.patience import patience_s


async def text_completions(request: web.Request) -> web.StreamResponse:
    """Answer one or more texts, whole or as a stream."""
    server = request.app[SETTINGS].settings.server
    router = request.app[ROUTER]
    with stages(enabled=server.enable_profiling) as mark:
        body = await read_body(request, TextCompletionRequest)
        mark("body read")
        timeout_s = None if body.stream else patience_s(request)
        wanted = to_core(body, client=request[CLIENT], timeout_s=timeout_s)
        if server.log_prompts:
            for one in wanted:
                log_prompt(one.messages)
        names = unheard(server, router.route(body.model or None), ignored(body))
        course = Course()
        sources = [router.complete(one, course) for one in wanted]
        choices = Choices(sources, course, ignored=names, mark=mark)
        return await send_answer(request, TextAnswer(body, choices), choices, streamed=bool(body.stream))
