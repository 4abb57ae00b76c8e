"""The OpenAPI document: valid, complete, and true to what the server sends."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from openapi_spec_validator import OpenAPIV31SpecValidator

from cursorpipe_core import (
    Backend,
    Began,
    CompletionEvent,
    Finish,
    FinishReason,
    Model,
    SlotState,
    Snapshot,
    Strategy,
    TextDelta,
    Usage,
    WorkerSnapshot,
)
from cursorpipe_server.chat.schemas import ChatCompletionRequest
from cursorpipe_server.chat.translate import FINISH_REASONS, ChatAnswer
from cursorpipe_server.choices import Choices
from cursorpipe_server.errors import HTTP_ERRORS, INTERNAL, envelope, error_response, refusal_response
from cursorpipe_server.models import model_object
from cursorpipe_server.openapi import openapi_document
from cursorpipe_server.openapi_examples import ERROR_EXAMPLES, HTTP_REFUSALS, stream_example
from cursorpipe_server.routes import ROUTES

DOCUMENT = openapi_document(version="1.2.3")
CHAT = DOCUMENT["paths"]["/v1/chat/completions"]["post"]


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


def events_of(stream: str) -> list[str]:
    assert stream.endswith("\n\n")
    return [event.removeprefix("data: ") for event in stream.removesuffix("\n\n").split("\n\n")]


async def one_answer() -> AsyncGenerator[list[CompletionEvent], None]:
    yield [Began(Backend.ACP, None), TextDelta("Hello")]
    yield [Usage(3, 2, cached_tokens=1), Finish(FinishReason.STOP)]


def an_answer(**members: object) -> ChatAnswer:
    body = ChatCompletionRequest.model_validate({"messages": [{"role": "user", "content": "Hi"}], **members})
    choices = Choices([one_answer()], ignored=(), mark=lambda _: None)
    return ChatAnswer(body, choices, reasoning=True, mark=lambda _: None)


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
    if route.path.startswith(("/docs", "/redoc", "/openapi.json")):
        assert operation is None
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


def test_every_status_of_the_error_table_is_described() -> None:
    statuses = {error.status for error in (*HTTP_ERRORS.values(), INTERNAL)} | HTTP_REFUSALS.keys()
    assert {str(status) for status in statuses} == CHAT["responses"].keys() - {"200"}


def test_every_error_of_the_table_has_an_example() -> None:
    shown = {
        (body["value"]["error"]["type"], code)
        for response in CHAT["responses"].values()
        for code, body in response["content"]["application/json"].get("examples", {}).items()
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
    assert json.loads(answer.body) == HTTP_REFUSALS[refusal.status]
    assert undescribed_headers(answer) == set()


def test_every_answer_tells_the_request_id() -> None:
    assert [status for _, status, response in responses() if "x-request-id" not in response["headers"]] == []


def test_every_example_of_an_answer_fits_its_schema() -> None:
    checked = 0
    for _, _, response in responses():
        content = response["content"]["application/json"]
        shown = [content["example"]] if "example" in content else []
        shown += [example["value"] for example in content.get("examples", {}).values()]
        assert shown
        for value in shown:
            validate(value, content["schema"])
            checked += 1
    assert checked > len(ERROR_EXAMPLES)


@pytest.mark.parametrize("name", ["simple", "stream", "pinned"])
def test_an_example_of_a_request_is_taken(name: str) -> None:
    content = CHAT["requestBody"]["content"]["application/json"]
    value = content["examples"][name]["value"]
    validate(value, content["schema"])
    ChatCompletionRequest.model_validate(value)


def test_a_member_that_is_not_described_is_noticed() -> None:
    answer = json.loads(events_of(stream_example())[1])
    answer["choices"][0]["delta"]["surprise"] = 1
    with pytest.raises(ValidationError):
        validate_exactly(answer, "ChatCompletionChunk")


def test_the_schema_refuses_what_the_server_refuses() -> None:
    schema = CHAT["requestBody"]["content"]["application/json"]["schema"]
    with pytest.raises(ValidationError):
        validate({"messages": []}, schema)
    with pytest.raises(ValidationError):
        validate({"messages": [{"role": "nobody", "content": "Hi"}]}, schema)


def test_the_example_of_a_stream_is_a_stream() -> None:
    shown = CHAT["responses"]["200"]["content"]["text/event-stream"]["examples"]["answer"]["value"]
    assert shown == stream_example()
    *chunks, done = events_of(shown)
    assert done == "[DONE]"
    for chunk in chunks:
        validate_exactly(json.loads(chunk), "ChatCompletionChunk")


async def test_a_real_answer_has_the_described_shape() -> None:
    validate_exactly(await an_answer().collect(one_answer()), "ChatCompletion")


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
async def test_real_chunks_have_the_described_shape(options: dict[str, object]) -> None:
    answer = an_answer(stream=True, **options)
    stream = b"".join([frames async for frames in answer.frames(one_answer())])
    *chunks, _ = events_of(stream.decode())
    assert len(chunks) >= 3
    for chunk in chunks:
        validate_exactly(json.loads(chunk), "ChatCompletionChunk")


async def test_the_headers_of_a_real_answer_are_described() -> None:
    answer = an_answer(model="a-model", temperature=0)
    await answer.collect(one_answer())
    described = CHAT["responses"]["200"]["headers"]
    assert answer.headers().keys() == described.keys() - {"x-request-id"}
    for name, value in answer.headers().items():
        validate(value, DOCUMENT["components"]["headers"][name]["schema"])


def test_a_real_model_has_the_described_shape() -> None:
    validate_exactly(model_object(Model("a/b[c=d]", "A B")), "Model")


@pytest.mark.parametrize("state", SlotState)
@pytest.mark.parametrize("pid", [None, 4711])
def test_real_readiness_has_the_described_shape(state: SlotState, pid: int | None) -> None:
    worker = WorkerSnapshot(0, state, "why", pid, 1, 2, 3, ("a note",))
    snapshot = Snapshot(False, None, Strategy.AUTO, (worker,), 0, 1, 2)
    sent = json.loads(json.dumps({"version": "1.2.3", **asdict(snapshot)}))
    validate_exactly(sent, "Readiness")


def test_the_reasons_an_answer_ends_for_are_all_described() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["Choice"]["properties"]["finish_reason"]["enum"] == list(FINISH_REASONS.values())
