"""Answers in the format that was asked for, or an error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from cursorpipe_core.attempt import Attempt
from cursorpipe_core.completion import CompletionEvent, Finish, FinishReason, TextDelta
from cursorpipe_core.errors import AgentError, InvalidOutputError
from cursorpipe_core.gathered import Gathered
from cursorpipe_core.prompt import Prompt
from cursorpipe_core.structured import AnswerFormat, Reading

logger = logging.getLogger(__name__)


async def formatted(
    attempt: Attempt, wanted: AnswerFormat, events: AsyncGenerator[list[CompletionEvent], None]
) -> AsyncGenerator[list[CompletionEvent], None]:
    """Yield the events of an answer in a format: its text at once and only when it is valid.

    An answer that is not valid is corrected once, in the same session. Raises InvalidOutputError.
    """
    answer = Gathered()
    try:
        async with aclosing(events) as batches:
            async for batch in batches:
                if passed := answer.take(batch):
                    yield passed
        text = answer.text()
        reading = await _check(attempt, wanted, text)
        if reading.violations and answer.reason is FinishReason.STOP and attempt.dialogue is not None:
            logger.info("the answer is corrected: %d violations", len(reading.violations))
            async with aclosing(
                attempt.another_turn(Prompt(wanted.correction(reading.violations)))
            ) as batches:
                async for batch in batches:
                    if passed := answer.take(batch):
                        yield passed
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
    yield [
        TextDelta([reading.text if whole else text]),
        *answer.calls,
        answer.usage,
        Finish(answer.reason),
    ]


async def _check(attempt: Attempt, wanted: AnswerFormat, text: str) -> Reading:
    """Read an answer in its format, in a thread, within the time that the request has left."""
    return await attempt.in_time(asyncio.to_thread(wanted.read, text))
