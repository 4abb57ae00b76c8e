"""A scripted model that calls its caller's tools, for agents that others wrote.

    python tool_model.py PATH-OF-FAKE-LLM [its options]

Extends the fake model of the real agents, which only uses shell tools: ``[[tools:PLAN]]`` in the last message
of the user, with percent-encoded JSON, a list of rounds, each a list of ``[name, arguments]``. Each round is
called under the names that are found among the tools on offer; at the end all results are told. With the
environment variable ``TOOL_MODEL_BODIES`` what agents send is appended to that file.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

_PLAN = re.compile(r"\[\[tools:([^\]]*)\]\]")


def load(path: str) -> Any:
    """Return the fake model's module."""
    spec = importlib.util.spec_from_file_location("fake_llm", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fake_llm"] = module
    spec.loader.exec_module(module)
    return module


def extend(llm: Any) -> None:
    """Teach the fake model the directive."""
    plain_script, read_responses, read_gemini = llm.script, llm.read_responses, llm.read_gemini

    def responses(body: dict[str, Any]) -> Any:
        plan = read_responses(body)
        plan.offered = dict(_responses_tools(body.get("tools") or []))
        items = body.get("input")
        plan.results = list(_since_the_user(items if isinstance(items, list) else [], _responses_result))
        return keep(plan, body)

    def gemini(body: dict[str, Any], model: str) -> Any:
        plan = read_gemini(body, model)
        plan.offered = {name: (name, None) for name in plan.tools}
        plan.results = list(_since_the_user(body.get("contents") or [], _gemini_results))
        return keep(plan, body)

    def keep(plan: Any, body: dict[str, Any]) -> Any:
        if path := os.environ.get("TOOL_MODEL_BODIES"):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(body) + "\n")
        return plan

    def script(plan: Any) -> list[tuple[Any, ...]]:
        found = _PLAN.search(plan.text)
        if found is None or not hasattr(plan, "offered"):
            return plain_script(plan)  # type: ignore[no-any-return]
        results: list[str] = plan.results
        for calls in json.loads(unquote(found[1])):
            if len(results) < len(calls):
                return [("text", "calling "), *(("tool", *_named(plan, *call)) for call in calls)]
            results = results[len(calls) :]
        told = "; ".join(plan.results)
        return [("text", word) for word in re.findall(r"\S+\s*", f"RESULTS: {told} END")]

    llm.read_responses, llm.read_gemini, llm.script = responses, gemini, script
    plain_call = llm.Responses.call

    def call(self: Any, name: Any, arguments: dict[str, Any]) -> bytes:
        if not isinstance(name, tuple):
            return plain_call(self, name, arguments)  # type: ignore[no-any-return]
        sent: bytes = plain_call(self, name[0], arguments)
        # The namespace is a member of the call beside its name.
        mark = f'"name": "{name[0]}"'.encode()
        self.items[-1]["namespace"] = name[1]
        return sent.replace(mark, mark + f', "namespace": "{name[1]}"'.encode())

    llm.Responses.call = call


def _named(plan: Any, name: str, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    known = next((known for known in plan.offered if known.endswith(name)), name)
    shown, namespace = plan.offered.get(known, (name, None))
    return (shown, namespace) if namespace else shown, arguments


def _responses_tools(tools: list[dict[str, Any]]) -> Iterator[tuple[str, tuple[str, str | None]]]:
    for tool in tools:
        if tool.get("type") == "namespace":
            for inner in tool.get("tools") or []:
                yield f"{tool['name']}.{inner['name']}", (inner["name"], tool["name"])
        else:
            name = str(tool.get("name") or tool.get("type"))
            yield name, (name, None)


def _since_the_user(items: list[Any], results_of: Any) -> Iterator[str]:
    results: list[str] = []
    for item in items:
        found = results_of(item)
        if found is None:
            results = []
        else:
            results += found
    yield from results


def _responses_result(item: dict[str, Any]) -> list[str] | None:
    if item.get("role") == "user":
        return None
    if not str(item.get("type", "")).endswith("_output"):
        return []
    output = item.get("output")
    return [output if isinstance(output, str) else json.dumps(output)]


def _gemini_results(item: dict[str, Any]) -> list[str] | None:
    if item.get("role", "user") != "user":
        return []
    parts = item.get("parts") or []
    found = [
        json.dumps(part["functionResponse"].get("response")) for part in parts if "functionResponse" in part
    ]
    return found or None


def main() -> None:
    """Run the extended model."""
    llm = load(sys.argv.pop(1))
    extend(llm)
    import argparse  # noqa: PLC0415

    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8178)
    llm.ARGS = parser.parse_args()
    llm.ARGS.log, llm.ARGS.delay_ms, llm.ARGS.chunks, llm.ARGS.ttft_ms = "", 0, 0, 0
    asyncio.run(llm.main())


if __name__ == "__main__":
    main()
