"""The OpenAPI document: valid, complete, and true to what the server sends."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

import pydantic
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from openapi_spec_validator import OpenAPIV31SpecValidator

from cursorpipe_core import (
    Backend,
    Began,
    Calls,
    CompletionEvent,
    Course,
    Finish,
    FinishReason,
    InvalidRequestError,
    Model,
    SlotState,
    Snapshot,
    Strategy,
    TextDelta,
    ThoughtDelta,
    ToolCall,
    ToolsSnapshot,
    ToolWay,
    Usage,
    WorkerSnapshot,
)
from cursorpipe_core.config import is_model_name
from cursorpipe_server.chat.schemas import MAX_CHOICES, MAX_TOOLS, MODEL_NAME, ChatCompletionRequest
from cursorpipe_server.chat.translate import FINISH_REASONS, ChatAnswer, to_core
from cursorpipe_server.choices import Choices
from cursorpipe_server.completions.schemas import TextCompletionRequest
from cursorpipe_server.completions.translate import TextAnswer
from cursorpipe_server.completions.translate import to_core as to_prompts
from cursorpipe_server.errors import HTTP_ERRORS, INTERNAL, envelope, error_response, refusal_response
from cursorpipe_server.models import model_object
from cursorpipe_server.openapi import openapi_document
from cursorpipe_server.openapi_examples import ERROR_EXAMPLES
from cursorpipe_server.ops import readiness
from cursorpipe_server.routes import ROUTES
from cursorpipe_server.sse import frame

DOCUMENT = openapi_document(version="1.2.3")
CHAT = DOCUMENT["paths"]["/v1/chat/completions"]["post"]
TEXT = DOCUMENT["paths"]["/v1/completions"]["post"]

#: On every answer; what puts them there sees only answers of the running server.
ALWAYS = {"x-request-id", "openai-processing-ms"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def responses() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every response there is: the path, the status, the response."""
    for _, path, operation in operations():
        for status, response in operation["responses"].items():
            yield path, status, response


def closed(schema: Any) -> Any:
    """The schema, and all in it, without room for members that it does not describe."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    return {**inner, "additionalProperties": False} if schema.get("type") == "object" else inner


def validate(value: object, schema: Mapping[str, Any]) -> None:
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


def validate_exactly(value: object, name: str) -> None:
    whole = {"$ref": f"#/components/schemas/{name}", "components": closed(DOCUMENT["components"])}
    Draft202012Validator(whole).validate(value)


def undescribed_headers(answer: web.Response) -> set[str]:
    described: dict[str, Any] = CHAT["responses"][str(answer.status)]["headers"]
    return set(answer.headers) - {"Content-Type"} - described.keys()


def request_schema(operation: Mapping[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = operation["requestBody"]["content"]["application/json"]["schema"]
    return schema


def request_examples(operation: Mapping[str, Any]) -> dict[str, Any]:
    examples: dict[str, Any] = operation["requestBody"]["content"]["application/json"]["examples"]
    return {name: example["value"] for name, example in examples.items()}


def events_of(stream: str) -> list[str]:
    """What the events of a stream carry; comments are none."""
    assert stream.endswith("\n\n")
    events = stream.removesuffix("\n\n").split("\n\n")
    return [event.removeprefix("data: ") for event in events if not event.startswith(":")]


async def one_answer(way: ToolWay | None = None) -> AsyncGenerator[list[CompletionEvent], None]:
    yield [Began(Backend.ACP, None, way), ThoughtDelta(["A greeting."]), TextDelta(["Hello"])]
    yield [Usage(3, 4, cached_tokens=1, reasoning_tokens=2), Finish(FinishReason.STOP)]


async def two_calls() -> AsyncGenerator[list[CompletionEvent], None]:
    calls = [ToolCall("call_1", "f", '{"x":1}'), ToolCall("call_2", "f", "{}")]
    yield [Began(Backend.ACP, None, ToolWay.NEW)]
    yield [Calls(calls), Usage(3, 4), Finish(FinishReason.TOOL_CALLS)]


def some_choices(count: int = 1) -> Choices:
    return Choices([one_answer() for _ in range(count)], Course(), ignored=(), mark=lambda _: None)


def calling(**members: Any) -> ChatAnswer:
    body = ChatCompletionRequest.model_validate(chat(**members))
    choices = Choices([two_calls()], Course(), ignored=(), mark=lambda _: None)
    return ChatAnswer(body, choices, reasoning=True, mark=lambda _: None)


def a_chat_answer(**members: Any) -> ChatAnswer:
    body = ChatCompletionRequest.model_validate({"messages": [{"role": "user", "content": "Hi"}], **members})
    return ChatAnswer(body, some_choices(members.get("n", 1)), reasoning=True, mark=lambda _: None)


def a_text_answer(**members: Any) -> TextAnswer:
    body = TextCompletionRequest.model_validate({"prompt": "Hi", **members})
    return TextAnswer(body, some_choices(members.get("n", 1)))


async def chunks_of(answer: ChatAnswer | TextAnswer) -> list[Any]:
    stream = b"".join([frames async for frames in answer.frames()])
    *chunks, done = events_of(stream.decode())
    assert done == "[DONE]"
    return [json.loads(chunk) for chunk in chunks]


def test_the_document_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_the_document_can_be_sent() -> None:
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    assert DOCUMENT["info"]["version"] == "1.2.3"


def test_every_reference_leads_somewhere() -> None:
    names = set(json.dumps(DOCUMENT).split('"#/components/schemas/')[1:])
    assert {name.partition('"')[0] for name in names} <= DOCUMENT["components"]["schemas"].keys()


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_every_route_of_the_api_is_described_as_the_server_has_it(route: Any) -> None:
    documented = {(method, path): operation for method, path, operation in operations()}
    operation = documented.get((route.method, route.path.replace("{id:.+}", "{id}")))
    if route.path == "/" or route.path.startswith(("/docs", "/redoc", "/openapi.json")):
        assert operation is None, "what people look at is no operation"

        return
    assert operation is not None
    assert operation["summary"] == route.summary
    assert (operation.get("security") == []) is route.public


def test_nothing_is_described_that_there_is_not() -> None:
    served = {(route.method, route.path.replace("{id:.+}", "{id}")) for route in ROUTES}
    assert {(method, path) for method, path, _ in operations()} <= served


def test_the_rest_needs_the_bearer_token() -> None:
    assert DOCUMENT["security"] == [{"bearerAuth": []}]
    assert DOCUMENT["components"]["securitySchemes"]["bearerAuth"]["scheme"] == "bearer"


def test_every_member_of_a_request_is_described() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for name in ("ChatCompletionRequest", "TextCompletionRequest", "UserMessage", "AssistantMessage"):
        members = schemas[name]["properties"]
        assert [member for member, schema in members.items() if "description" not in schema] == []


@pytest.mark.parametrize("operation", [CHAT, TEXT], ids=["chat", "text"])
def test_every_status_of_the_error_table_is_described(operation: Mapping[str, Any]) -> None:
    statuses = {error.status for error in (*HTTP_ERRORS.values(), INTERNAL)} | {405, 413, 417}
    assert {str(status) for status in statuses} == operation["responses"].keys() - {"200"}


def test_every_error_of_the_table_has_an_example() -> None:
    shown = {
        (body["value"]["error"]["type"], code)
        for status, response in CHAT["responses"].items()
        for code, body in response["content"]["application/json"]["examples"].items()
        if status != "200"
    }
    assert {(error.type, error.code) for error in (*HTTP_ERRORS.values(), INTERNAL)} <= shown


@pytest.mark.parametrize("error", ERROR_EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_is_described_with_the_headers_it_has(error: Exception) -> None:
    answer = error_response(error)
    assert undescribed_headers(answer) == set()
    validate_exactly(envelope(error), "Error")


@pytest.mark.parametrize(
    "refusal", [web.HTTPMethodNotAllowed("GET", ["POST"]), web.HTTPRequestEntityTooLarge(1, 2)]
)
def test_a_refusal_by_http_is_shown_as_it_is_sent(refusal: web.HTTPException) -> None:
    answer = refusal_response(make_mocked_request("GET", "/v1/chat/completions"), refusal)
    assert isinstance(answer.body, bytes)
    sent = json.loads(answer.body)
    shown = CHAT["responses"][str(refusal.status)]["content"]["application/json"]["examples"]
    assert shown == {sent["error"]["code"]: {"value": sent}}
    assert undescribed_headers(answer) == set()


def test_every_answer_has_what_every_answer_has() -> None:
    assert [status for _, status, response in responses() if not response["headers"].keys() >= ALWAYS] == []


def test_only_an_operation_with_formats_and_tools_can_fail_by_them() -> None:
    found = {
        path
        for path, status, response in responses()
        for code in ("invalid_output", "tool_choice_unmet")
        if status == "502" and code in response["content"]["application/json"]["examples"]
    }
    assert found == {"/v1/chat/completions"}


def test_every_example_of_an_answer_fits_its_schema() -> None:
    checked = 0
    for _, _, response in responses():
        content = next(iter(response["content"].values()))
        shown = [content["example"]] if "example" in content else []
        shown += [example["value"] for example in content.get("examples", {}).values()]
        assert shown
        for value in shown:
            validate(value, content["schema"])
            checked += 1
    assert checked > len(ERROR_EXAMPLES)


@pytest.mark.parametrize("name", request_examples(CHAT))
def test_an_example_of_a_conversation_is_taken(name: str) -> None:
    value = request_examples(CHAT)[name]
    validate(value, request_schema(CHAT))
    to_core(ChatCompletionRequest.model_validate(value), client="", timeout_s=None)


@pytest.mark.parametrize("name", request_examples(TEXT))
def test_an_example_of_a_prompt_is_taken(name: str) -> None:
    value = request_examples(TEXT)[name]
    validate(value, request_schema(TEXT))
    to_prompts(TextCompletionRequest.model_validate(value), client="", timeout_s=None)


def test_a_member_that_is_not_described_is_noticed() -> None:
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "auto", "choices": []}
    validate_exactly(chunk, "ChatCompletionChunk")
    with pytest.raises(ValidationError):
        validate_exactly({**chunk, "surprise": 1}, "ChatCompletionChunk")


USER = {"role": "user", "content": "Hi"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}


TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f"}}
NAMED_TOOL = {"type": "function", "function": {"name": "f"}}
CUSTOM_CALL = {"id": "a", "custom": {"name": "b", "input": "c"}}
RESULT = {"role": "tool", "tool_call_id": "a", "content": "7"}


def allowed(mode: str, *tools: object) -> dict[str, object]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}


def chat(*messages: object, **members: object) -> dict[str, object]:
    return {"messages": list(messages or [USER]), **members}


@pytest.mark.parametrize(
    "body",
    [
        chat({"role": "nobody", "content": "Hi"}),
        {"messages": []},
        chat({"role": "user"}),
        chat({"role": "user", "content": [{"type": "text"}]}),
        chat({"role": "user", "content": [{"type": "input_audio"}]}),
        chat({"role": "system", "content": [PICTURE]}),
        chat({"role": "user", "content": [{**PICTURE, "image_url": {"url": "https://example.org/a.png"}}]}),
        chat({"role": "user", "content": [{**PICTURE, "image_url": {"url": "data:image/png;base64,?"}}]}),
        chat({"role": "tool", "content": "7"}),
        chat({"role": "function", "content": "7"}),
        chat({"role": "assistant", "tool_calls": [{"id": "call_1"}]}),
        chat(n=0),
        chat(n=9),
        chat(n=1.5),
        chat(seed=2**63),
        chat(max_tokens=0),
        chat(temperature=3),
        chat(stop=["a", "b", "c", "d", "e"]),
        chat(stream_options={}),
        chat(stream=False, stream_options={}),
        chat(tool_choice="required"),
        chat(tool_choice="any", tools=[TOOL]),
        chat(tool_choice=NAMED_TOOL),
        chat(tool_choice=NAMED_TOOL, tools=[]),
        chat(tool_choice={"type": "function"}, tools=[TOOL]),
        chat(tool_choice=allowed("auto"), tools=[TOOL]),
        chat(tool_choice=allowed("none", NAMED_TOOL), tools=[TOOL]),
        chat(function_call={"name": "f"}),
        chat(function_call="required", functions=[TOOL["function"]]),
        chat(function_call={}, functions=[TOOL["function"]]),
        chat(tools=[TOOL], functions=[TOOL["function"]]),
        chat(tools=[{"type": "custom", "custom": {"name": "f"}}]),
        chat(tools=[{"type": "function"}]),
        chat(tools=[{"type": "function", "function": {"name": "a name"}}]),
        chat(tools=[TOOL] * (MAX_TOOLS + 1)),
        chat(modalities=["audio"]),
        chat(response_format={"type": "json_schema"}),
        chat(response_format={"type": "json_schema", "json_schema": {"name": "a name", "schema": {}}}),
        chat(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": False}}),
    ],
    ids=json.dumps,
)
def test_what_is_refused_is_refused_by_the_document_as_well(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        validate(body, request_schema(CHAT))
    with pytest.raises((InvalidRequestError, pydantic.ValidationError)):
        to_core(ChatCompletionRequest.model_validate(body), client="", timeout_s=None)


@pytest.mark.parametrize(
    "body",
    [
        chat({"role": "assistant"}),
        chat({"role": "user", "content": [PICTURE], "name": "Ada", "tool_calls": "another's member"}),
        chat({"role": "assistant", "tool_calls": [CUSTOM_CALL]}, RESULT),
        chat(stream=True, stream_options={}),
        chat(stream_options=None, n=2.0, unheard_of={}),
        chat(tools=[], functions=[], tool_choice="auto", function_call="none", parallel_tool_calls=False),
        chat(tools=[TOOL], functions=[], tool_choice="required"),
        chat(tools=[TOOL], tool_choice=NAMED_TOOL),
        chat(tools=[TOOL], tool_choice=allowed("auto", NAMED_TOOL)),
        chat(tools=[TOOL], tool_choice=allowed("required", NAMED_TOOL, NAMED_TOOL)),
        chat(tools=None, functions=[TOOL["function"]], function_call={"name": "f"}),
        chat(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": None}}),
    ],
    ids=json.dumps,
)
def test_what_is_taken_is_described(body: dict[str, object]) -> None:
    validate(body, request_schema(CHAT))
    to_core(ChatCompletionRequest.model_validate(body), client="", timeout_s=None)


def test_the_document_knows_the_name_of_a_model_as_the_server_does() -> None:
    texts = [text for code in range(0xD800) for text in (chr(code), f"a{chr(code)}")]
    texts += ["\ufeff", "a" * 256, "a" * 257, "-a", "a-", "a/b[c=d]"]
    # The end of a text is its end to JSON schemas, and not the line feed before it.
    pattern = re.compile(MODEL_NAME.removesuffix("$"))
    described = [text for text in texts if pattern.fullmatch(text)]
    assert described == [text for text in texts if is_model_name(text)]
    assert pattern.fullmatch("")


@pytest.mark.parametrize("prompts", range(1, 10))
@pytest.mark.parametrize("n", range(1, 10))
def test_the_document_counts_prompts_and_answers_as_the_server_does(prompts: int, n: int) -> None:
    body = {"prompt": ["Hi"] * prompts, "n": n}
    if prompts * n <= MAX_CHOICES:
        validate(body, request_schema(TEXT))
        assert (
            len(to_prompts(TextCompletionRequest.model_validate(body), client="", timeout_s=None))
            == prompts * n
        )
        return
    with pytest.raises(ValidationError):
        validate(body, request_schema(TEXT))
    with pytest.raises((InvalidRequestError, pydantic.ValidationError)):
        to_prompts(TextCompletionRequest.model_validate(body), client="", timeout_s=None)


@pytest.mark.parametrize(
    "body",
    [{"prompt": [1, 2]}, {"prompt": "Hi", "echo": True}, {"prompt": "Hi", "suffix": "!"}],
    ids=json.dumps,
)
def test_a_prompt_that_is_refused_is_refused_by_the_document(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        validate(body, request_schema(TEXT))
    with pytest.raises((InvalidRequestError, pydantic.ValidationError)):
        to_prompts(TextCompletionRequest.model_validate(body), client="", timeout_s=None)


@pytest.mark.parametrize(
    ("operation", "name"),
    [(CHAT, "ChatCompletionChunk"), (TEXT, "TextCompletionChunk")],
    ids=["chat", "text"],
)
def test_the_examples_of_streams_are_streams(operation: Mapping[str, Any], name: str) -> None:
    described = operation["responses"]["200"]["content"]["text/event-stream"]
    for example, shown in described["examples"].items():
        *chunks, last = events_of(shown["value"])
        for chunk in chunks:
            validate_exactly(json.loads(chunk), name)
        if example == "failure":
            validate_exactly(json.loads(last), "Error")
        else:
            assert last == "[DONE]"
        for data in (*chunks, last):
            validate({"data": data}, described["schema"])


async def test_a_real_answer_has_the_described_shape() -> None:
    whole = await a_chat_answer(n=2).collect()
    assert len(whole["choices"]) == 2
    assert whole["choices"][1]["message"]["reasoning_content"] == "A greeting."
    validate_exactly(whole, "ChatCompletion")


OFFERS: list[dict[str, Any]] = [{"tools": [TOOL]}, {"functions": [TOOL["function"]]}]


@pytest.mark.parametrize("offer", OFFERS, ids=["tools", "functions"])
async def test_real_calls_have_the_described_shape(offer: dict[str, Any]) -> None:
    whole = await calling(**offer).collect()
    assert whole["choices"][0]["message"].keys() & {"tool_calls", "function_call"}
    validate_exactly(whole, "ChatCompletion")
    chunks = await chunks_of(calling(stream=True, **offer))
    assert any(chunk["choices"][0]["delta"].keys() & {"tool_calls", "function_call"} for chunk in chunks)
    for chunk in chunks:
        validate_exactly(chunk, "ChatCompletionChunk")


async def test_a_real_text_completion_has_the_described_shape() -> None:
    whole = await a_text_answer(n=2).collect()
    assert len(whole["choices"]) == 2
    validate_exactly(whole, "TextCompletion")


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
async def test_real_chunks_have_the_described_shape(n: int, options: dict[str, object]) -> None:
    chunks = await chunks_of(a_chat_answer(n=n, stream=True, **options))
    assert len(chunks) == 4 * n + bool(options)
    for chunk in chunks:
        validate_exactly(chunk, "ChatCompletionChunk")


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
async def test_real_chunks_of_text_have_the_described_shape(n: int, options: dict[str, object]) -> None:
    chunks = await chunks_of(a_text_answer(n=n, stream=True, **options))
    assert len(chunks) == 2 * n + bool(options)
    for chunk in chunks:
        validate_exactly(chunk, "TextCompletionChunk")


def test_the_event_that_ends_a_failed_stream_is_described() -> None:
    (data,) = events_of(frame(envelope(ERROR_EXAMPLES[0])).decode())
    validate_exactly(json.loads(data), "Error")


@pytest.mark.parametrize(("operation", "way"), [(CHAT, ToolWay.RESUMED), (TEXT, None)], ids=["chat", "text"])
async def test_the_headers_of_a_real_answer_are_described(
    operation: Mapping[str, Any], way: ToolWay | None
) -> None:
    choices = Choices([one_answer(way)], Course(), ignored=("temperature",), mark=lambda _: None)
    async for _ in choices.read():
        pass
    headers = choices.headers(whole=True)
    assert headers.keys() == operation["responses"]["200"]["headers"].keys() - ALWAYS
    for name, value in headers.items():
        validate(value, DOCUMENT["components"]["headers"][name]["schema"])


def test_a_real_model_has_the_described_shape() -> None:
    validate_exactly(model_object(Model("a/b[c=d]", "A B")), "Model")


@pytest.mark.parametrize("state", SlotState)
@pytest.mark.parametrize("pid", [None, 4711])
def test_real_readiness_has_the_described_shape(state: SlotState, pid: int | None) -> None:
    worker = WorkerSnapshot(0, state, "why", pid, 1, 2, 3, ("a note",))
    snapshot = Snapshot(False, None, Strategy.AUTO, (worker,), 0, 1, 2, ToolsSnapshot("http", proven=True))
    sent = json.loads(json.dumps(readiness(snapshot)))
    validate_exactly(sent, "Readiness")


@pytest.mark.parametrize(
    ("choice", "more"), [("Choice", ["tool_calls", "function_call"]), ("TextChoice", [])]
)
def test_the_reasons_an_answer_ends_for_are_all_described(choice: str, more: list[str]) -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas[choice]["properties"]["finish_reason"]["enum"] == [*FINISH_REASONS.values(), *more]
