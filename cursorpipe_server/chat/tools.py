"""OpenAI's tools as the core's: what a request offers, and what of it may or must be called."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from cursorpipe_core import InvalidRequestError, Message, Role, Tool, ToolSet, ToolUse
from cursorpipe_server.chat.schemas import ChatCompletionRequest, FunctionDefinition

#: Choices that ask for nothing which there has to be a tool for.
_WITHOUT_TOOLS = (None, "none", "auto")
#: How allowed tools may be called. No set, as what is none may not be hashable.
_MODES = ("auto", "required")


def is_legacy(body: ChatCompletionRequest) -> bool:
    """Whether a request offers its tools in their older form, of which one at a time is called."""
    return bool(body.functions)


def tool_use(body: ChatCompletionRequest) -> ToolUse | None:
    """Return the tools that the answer may call, if any; raises InvalidRequestError."""
    if body.tools and body.functions:
        raise _invalid("functions", "it is not allowed beside 'tools', of which it is the older form")
    if not body.tools and body.tool_choice not in _WITHOUT_TOOLS:
        raise _invalid("tool_choice", "it is only allowed when 'tools' are specified")
    if not body.functions and body.function_call not in _WITHOUT_TOOLS:
        raise _invalid("function_call", "it is only allowed when 'functions' are specified")
    if not body.tools and not body.functions:
        return None
    if is_legacy(body):
        param, choice = "function_call", body.function_call
        offered = _tools(body.functions or (), "functions.{}.name")
    else:
        param, choice = "tool_choice", body.tool_choice
        offered = _tools([tool.function for tool in body.tools or ()], "tools.{}.function.name")
    names, required = _chosen(choice, param)
    if names is not None:
        unknown = set(names) - {tool.name for tool in offered}
        if unknown:
            raise _invalid(param, f"there is no tool '{min(unknown)}' in the request")
        offered = [tool for tool in offered if tool.name in names]
    if choice == "none" or not offered:
        return None
    legacy = is_legacy(body)
    parallel = not legacy and body.parallel_tool_calls is not False
    return ToolUse(ToolSet(offered), required=required, parallel=parallel, resumable=not legacy)


def refused_tools(body: ChatCompletionRequest, use: ToolUse) -> str:
    """Return the parameter that has no effect where agents are offered no tools.

    Raises InvalidRequestError for a call that has to be: an answer without it is of no use.
    """
    if use.required:
        param = "function_call" if is_legacy(body) else "tool_choice"
        raise _invalid(param, "no tool can be required: this server offers agents none")
    return "functions" if is_legacy(body) else "tools"


def check_calls(messages: Sequence[Message]) -> None:
    """Raise InvalidRequestError for a call without a result, and for a result without a call or a second."""
    at = 0
    owed: dict[str, None] = {}
    answers: dict[str, int] = {}
    for index, message in enumerate(messages):
        if message.role is Role.TOOL and message.call_id is not None:
            _check_result(message.call_id, index, owed, answers)
            answers[message.call_id] = index
        else:
            if owed:
                _check_answered(at, owed, answers)
            # A call of the older form has no id, and needs no result.
            owed = dict.fromkeys(call.id for call in message.calls if call.id) if message.calls else {}
            at, answers = index, {}
    _check_answered(at, owed, answers)


def _check_result(call_id: str, index: int, owed: Container[str], answers: Mapping[str, int]) -> None:
    param = f"messages.{index}.tool_call_id"
    if call_id not in owed:
        raise InvalidRequestError(
            f"Invalid parameter: messages.{index}: messages with role 'tool' must be a response to a "
            "preceding message with 'tool_calls'.",
            param=param,
        )
    if call_id in answers:
        raise InvalidRequestError(
            f"Invalid parameter: Duplicate value for 'tool_call_id' of '{call_id}', in "
            f"messages.{answers[call_id]} and messages.{index}.",
            param=param,
        )


def _check_answered(at: int, owed: Iterable[str], answers: Container[str]) -> None:
    missing = [call_id for call_id in owed if call_id not in answers]
    if missing:
        raise InvalidRequestError(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            "'tool_call_id'. The following tool_call_ids did not have response messages: "
            f"{', '.join(missing)}.",
            param=f"messages.{at}.tool_calls",
        )


def _tools(functions: Iterable[FunctionDefinition], param: str) -> list[Tool]:
    """Return the tools, each of its own name; ``param`` is where the name of each stands."""
    offered: dict[str, Tool] = {}
    for index, function in enumerate(functions):
        name = function.name
        if name in offered:
            raise _invalid(param.format(index), f"there are two tools of the name '{name}'")
        offered[name] = Tool(name, function.description or "", function.parameters, bool(function.strict))
    return list(offered.values())


def _chosen(choice: str | Mapping[str, Any] | None, param: str) -> tuple[list[str] | None, bool]:
    """Return the names that alone may be called, None for all, and whether one has to be."""
    if choice in _WITHOUT_TOOLS:
        return None, False
    if choice == "required" and param == "tool_choice":
        return None, True
    if isinstance(choice, Mapping):
        if param == "function_call":
            return [_name_of(choice, param)], True
        kind = choice.get("type")
        if kind == "function":
            return [_name_of(choice.get("function"), f"{param}.function")], True
        if kind == "allowed_tools":
            return _allowed(choice.get("allowed_tools"), f"{param}.allowed_tools")
    known = "'none', 'auto'" + (", 'required' or an object" if param == "tool_choice" else " or an object")
    raise _invalid(param, f"expected one of {known}")


def _allowed(allowed: Any, param: str) -> tuple[list[str], bool]:
    mode = allowed.get("mode") if isinstance(allowed, dict) else None
    tools = allowed.get("tools") if isinstance(allowed, dict) else None
    if mode not in _MODES:
        raise _invalid(f"{param}.mode", "expected one of 'auto', 'required'")
    if not isinstance(tools, list) or not tools:
        raise _invalid(f"{param}.tools", "expected an array of tools")
    names = [
        _name_of(tool.get("function") if isinstance(tool, dict) else None, f"{param}.tools.{index}.function")
        for index, tool in enumerate(tools)
    ]
    return names, mode == "required"


def _name_of(function: Any, param: str) -> str:
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise InvalidRequestError(f"Missing required parameter: '{param}.name'.", param=f"{param}.name")
    return name


def _invalid(param: str, reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"Invalid value for '{param}': {reason}.", param=param)
