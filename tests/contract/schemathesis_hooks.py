"""What schemathesis has to know of the stand-in, and of what no schema can say of a request."""

from __future__ import annotations

from typing import Any

import schemathesis

#: The stand-in is no model and makes no JSON of itself, but it repeats some: what the schema of the
#: document's example describes. Schemas of random words demand nothing, and so it is valid by them as well.
ASKS_FOR_JSON = [{"role": "user", "content": '[[demo:echo]] {"name": "Ada Lovelace", "year": 1843}'}]


def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Make a request that is to be taken one that makes sense, and have JSON answered where it is wanted."""
    del context, kwargs
    body = case.body if isinstance(case.body, dict) else {}
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    body = {name: value for name, value in body.items() if not isinstance(value, dict) or name not in CHOICES}
    for name in ("tools", "functions"):
        if isinstance(body.get(name), list):
            body[name] = _named_apart(body[name])
    if isinstance(body.get("messages"), list):
        body["messages"] = _with_results(body["messages"])
    wanted = body.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") in {"json_object", "json_schema"}:
        body["messages"] = ASKS_FOR_JSON
    if body:
        case.body = body


#: Parameters that name one of the tools of the same request.
CHOICES = ("tool_choice", "function_call")


def _named_apart(tools: list[Any]) -> list[Any]:
    """Return the tools of which none has the name of another."""
    return list({str((tool.get("function") or tool).get("name")): tool for tool in tools}.values())


def _with_results(messages: list[Any]) -> list[Any]:
    """Return the conversation with a result for each call, and none that is of no call."""
    told: list[Any] = []
    for message in messages:
        if message.get("role") == "tool":
            continue
        told.append(message)
        if message.get("role") == "assistant":
            calls = dict.fromkeys(call["id"] for call in message.get("tool_calls") or () if call["id"])
            told += [{"role": "tool", "tool_call_id": call, "content": "7"} for call in calls]
    return told or ASKS_FOR_JSON


schemathesis.hook(before_call)
