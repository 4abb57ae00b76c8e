"""A prompt, taken apart: the question, the images, and what the demo agent is asked to do with it."""

from __future__ import annotations

from typing import Any, NamedTuple

from cursorpipe_core.demo_agent.request import Request, RequestError, take_directive
from cursorpipe_core.demo_agent.scenarios import SCENARIOS, Faults, names
from cursorpipe_core.demo_agent.script import recite
from cursorpipe_core.demo_agent.stage import Stage


class Prompt(NamedTuple):
    """A prompt: ``text`` as it came, ``question`` without directives; ``images`` are mime types.

    ``transcript`` is what stands behind the directive, or all of a prompt that has none.
    """

    text: str
    question: str
    images: list[str]
    request: Request
    transcript: str
    complaint: str = ""


def read_prompt(text: str, images: list[str], faults: Faults) -> Prompt:
    """Read a prompt and decide its scenario; a directive that is wrong is answered with a complaint."""
    question, directive, transcript = take_directive(text)
    try:
        return Prompt(text, question, images, faults.for_turn(directive), transcript)
    except RequestError as error:
        complaint = f"The demo agent does not understand the directive: {error}. Scenarios: {names()}."
        return Prompt(text, question, images, Request("answer", {}), transcript, complaint)


def read_blocks(blocks: list[Any], faults: Faults) -> Prompt:
    """Read the content blocks of ``session/prompt``: text, image and resource_link (CLI contract §4.4)."""
    pieces, images = [], []
    for block in blocks:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            pieces.append(str(block.get("text", "")))
        elif kind == "image":
            images.append(str(block.get("mimeType")))
        elif kind == "resource_link":
            pieces.append(f"@{block.get('uri')}")
    return read_prompt("\n".join(pieces), images, faults)


def perform(stage: Stage, prompt: Prompt) -> None:
    """Do in a turn what its prompt asks for; raises what ends the turn otherwise."""
    stage.transcript = prompt.transcript
    if prompt.complaint:
        recite(stage, prompt.complaint)
    else:
        SCENARIOS[prompt.request.name].play(stage, prompt.request)
