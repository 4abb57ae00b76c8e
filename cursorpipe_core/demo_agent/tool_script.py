"""The scenario in which the model uses its tools, by a plan, and says what they told it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cursorpipe_core.demo_agent.request import Request, RequestError
from cursorpipe_core.demo_agent.samples import sample
from cursorpipe_core.demo_agent.script import recite
from cursorpipe_core.demo_agent.stage import Stage
from cursorpipe_core.demo_agent.tool_plan import Call, Plan, Result, Round, read_plan
from cursorpipe_core.demo_agent.transcript import Past, PastCall

#: A text up to this length is said word by word, a longer one at once.
_MAX_RECITED = 2000
#: How a prompt that describes tools itself has their calls begin.
_BLOCK = "```tool_call"


def use_tools(stage: Stage, request: Request) -> None:
    """Make the calls of the plan that the prompt does not tell of, and quote all results.

    The first turns of the session, as many as the request says, do without any tool.
    """
    if len(stage.history) < request.number("reluctant"):
        recite(stage, "I would rather do without a tool.")
        return
    try:
        plan = read_plan(request.text("plan")) if request.text("plan") else _everything(stage)
    except RequestError as error:
        recite(stage, f"The demo agent does not understand: {error}")
        return
    past = Past(stage.transcript)
    if _BLOCK in stage.question and not stage.tools():
        _write_blocks(stage, plan, past)
        return
    results = [result for step in plan.rounds for result in _play(stage, step, past)]
    _tell(stage, plan.answer or _quote(plan, results))


def _write_blocks(stage: Stage, plan: Plan, past: Past) -> None:
    """Call as a model does whose prompt asks for blocks: the next calls of the plan are its whole answer."""
    results = []
    for step in plan.rounds:
        known = [past.take(lambda made, call=call: _is(made, call)) for call in step.calls]  # type: ignore[misc]
        missing = [call for call, made in zip(step.calls, known, strict=True) if made is None]
        if missing:
            blocks = [json.dumps({"tool": call.name, "arguments": call.arguments}) for call in missing]
            _tell(stage, step.say + "".join(f"\n{_BLOCK}\n{block}\n```\n" for block in blocks))
            return
        results += [Result(made.result) for made in known if made is not None]
    _tell(stage, plan.answer or _quote(plan, results))


def _everything(stage: Stage) -> Plan:
    """Return a plan that calls each tool once, with the least that it asks for."""
    calls = [_sampled(tool) for tool in stage.tools()]
    return Plan([Round(calls)] if calls else [])


def _sampled(tool: dict[str, Any]) -> Call:
    schema = tool.get("inputSchema")
    arguments = sample(schema, schema)
    return Call(str(tool.get("name")), arguments if isinstance(arguments, dict) else {})


def _play(stage: Stage, step: Round, past: Past) -> list[Result]:
    """Play a round, or the part of it that was not played before; returns the results of all of it."""
    known = [past.take(lambda made, call=call: _is(made, call)) for call in step.calls]  # type: ignore[misc]
    results = [None if made is None else Result(made.result) for made in known]
    missing = [index for index, result in enumerate(results) if result is None]
    if missing or not step.calls:
        made = _make(stage, [step.calls[index] for index in missing], step.say if not any(known) else "")
        for index, result in zip(missing, made, strict=True):
            results[index] = result
        _tell(stage, step.after)
    return [result for result in results if result is not None]


def _make(stage: Stage, calls: Sequence[Call], say: str) -> list[Result]:
    """Make calls together, then, as often as there is something to correct, those that failed."""
    if not calls:
        _tell(stage, say)
        return []
    results = stage.call_tools(calls, lambda: _tell(stage, say))
    again = [index for index, call in enumerate(calls) if results[index].failed and call.corrections]
    if again:
        corrected = [
            calls[index]._replace(
                arguments=calls[index].corrections[0], corrections=calls[index].corrections[1:]
            )
            for index in again
        ]
        for index, result in zip(again, _make(stage, corrected, ""), strict=True):
            results[index] = result
    return results


def _is(made: PastCall, call: Call) -> bool:
    """Whether a call of the transcript is this one of the plan, in one of its tries."""
    known_by_place = call.at is not None
    return (made.name == call.name or known_by_place) and made.arguments in (
        call.arguments,
        *call.corrections,
    )


def _quote(plan: Plan, results: list[Result]) -> str:
    """Return the answer that has every result, in order."""
    names = [call.name for step in plan.rounds for call in step.calls]
    quoted = [
        f"{name} failed: {result.text}" if result.failed else f"{name} -> {result.text}"
        for name, result in zip(names, results, strict=True)
    ]
    return f"Results: {'; '.join(quoted) or 'none'}."


def _tell(stage: Stage, text: str) -> None:
    if len(text) <= _MAX_RECITED:
        recite(stage, text)
    else:
        stage.say(text)
