"""The status: what it tells, what it never tells, and who may look at it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cursorpipe_core import (
    AgentCrashError,
    AgentDescription,
    AgentNotFoundError,
    AuthenticationError,
    InvalidOutputError,
    QueueFullError,
    SlotState,
    ToolsSnapshot,
    UnknownModelError,
    WorkerSnapshot,
)
from cursorpipe_server import agent_build
from cursorpipe_server.config import MetricsAuth
from cursorpipe_server.openapi import openapi_document
from cursorpipe_server.ops import readiness
from tests.unit.server.conftest import BEGAN, HELLO, Client, MakeClient, ScriptedRouter, ask

CHAT = "/v1/chat/completions"
TOKEN = "s3cret"
FOREIGN = {"Sec-Fetch-Site": "cross-site"}
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-User": "?1"}


class Page(HTMLParser):
    """A page, as far as its tests look at it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.inline: dict[str, str] = {}
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in {"style", "script"}:
            self.inline[self._inside] = data
        else:
            self.words += f" {data}"

    def section(self, title: str) -> str:
        """The words under one title, without breaks."""
        found = re.search(rf"<h2>{title}</h2>(.*?)</section>", self.text, re.DOTALL)
        assert found is not None
        return " ".join(Page(found[1]).words.split())


async def chat(client: Client, *steps: Any, **fields: Any) -> None:
    async with client.post(CHAT, json=ask(**fields)) as response:
        await response.read()


async def status(client: Client, **options: Any) -> dict[str, Any]:
    async with client.get("/status", **options) as response:
        assert response.status == 200
        told: dict[str, Any] = await response.json()
        return told


async def page(client: Client) -> Page:
    async with client.get("/") as response:
        assert (response.status, response.content_type) == (200, "text/html")
        return Page(await response.text())


async def told_of(client: Client, requests: int) -> dict[str, Any]:
    """The status once so many requests are in it: they are entered behind their answers."""
    told = await status(client)
    while told["windows"][0]["requests"] < requests:
        await asyncio.sleep(0)
        told = await status(client)
    return told


async def test_the_status_is_what_ready_tells_and_more(client: Client, router: ScriptedRouter) -> None:
    told = await status(client)
    ready = json.loads(json.dumps(readiness(router.state)))
    assert {name: told[name] for name in ready} == ready
    assert told["agent"] == {"path": "/opt/agent", "version": "2026.09.23-86fc751", "reason": None}
    assert (told["in_flight"], told["demo"], told["errors"]) == (0, False, [])


async def test_the_status_is_as_the_document_describes_it(client: Client, router: ScriptedRouter) -> None:
    await chat(client)
    router.script = [QueueFullError("full", retry_after=1)]
    await chat(client)
    told = await told_of(client, 2)
    document = openapi_document(version="1")
    schema = {**document, "$ref": "#/components/schemas/Status"}
    Draft202012Validator(schema).validate(told)
    assert set(told) == set(document["components"]["schemas"]["Status"]["properties"])


@pytest.mark.parametrize("stream", [False, True])
async def test_requests_are_counted_with_their_first_texts(client: Client, stream: bool) -> None:
    await chat(client, stream=stream)
    totals = (await told_of(client, 1))["windows"][0]
    assert (totals["requests"], totals["failed"]) == (1, 0)
    assert 0 < totals["first_text_s"] < 10


async def test_those_who_look_do_not_see_themselves(client: Client) -> None:
    for path in ("/", "/status", "/metrics", "/health", "/ready", "/openapi.json", "/docs"):
        await (await client.get(path)).read()
    assert (await status(client))["windows"][2]["requests"] == 0


async def test_a_client_that_leaves_has_not_met_an_error(client: Client, router: ScriptedRouter) -> None:
    router.script = [HELLO[:2], asyncio.Event()]
    response = await client.post(CHAT, json=ask(stream=True))
    await response.content.readany()
    assert (await status(client))["in_flight"] == 1
    response.close()
    await router.closed.wait()
    told = await told_of(client, 1)
    assert (told["windows"][0]["failed"], told["errors"], told["in_flight"]) == (0, [], 0)


async def test_an_error_is_told_in_words_with_its_request(client: Client, router: ScriptedRouter) -> None:
    router.script = [[BEGAN], AgentCrashError("The agent was killed by SIGKILL.")]
    for number in range(3):
        async with client.post(CHAT, json=ask(), headers={"x-request-id": f"mine-{number}"}) as response:
            assert response.status == 500
    told = await told_of(client, 3)
    (error,) = told["errors"]
    assert {name: error[name] for name in ("route", "code", "message", "request_id", "count")} == {
        "route": CHAT,
        "code": "agent_crash",
        "message": "The agent was killed by SIGKILL.",
        "request_id": "mine-2",
        "count": 3,
    }
    assert told["windows"][0]["failed"] == 3
    shown = (await page(client)).section("Recent errors")
    assert shown.startswith("agent_crash /v1/chat/completions · 0 s ago · 3 times · mine-2")


async def test_what_a_client_did_wrong_is_told_and_is_no_failure(client: Client) -> None:
    async with client.post(CHAT, json={"messages": []}) as response:
        assert response.status == 400
    told = await told_of(client, 1)
    assert told["windows"][0]["failed"] == 0
    assert [error["code"] for error in told["errors"]] == ["invalid_value"]


async def test_an_error_in_mid_stream_is_told_too(client: Client, router: ScriptedRouter) -> None:
    router.script = [HELLO[:2], AgentCrashError("The agent ended.")]
    async with client.post(CHAT, json=ask(stream=True)) as response:
        assert response.status == 200
        await response.read()
    told = await told_of(client, 1)
    assert [error["code"] for error in told["errors"]] == ["agent_crash"]
    assert told["windows"][0]["failed"] == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", CHAT, {"messages": [], "a-secret": 1}),
        ("POST", CHAT, {"messages": [{"role": "a-secret", "content": "a-secret"}]}),
        ("POST", CHAT, ask(model=["a-secret"])),
        ("POST", CHAT, ask(stop=["a-secret"] * 9)),
        ("GET", "/v1/models/a-secret", None),
        ("GET", "/a-secret", None),
        ("PUT", "/v1/models", {"a-secret": 1}),
    ],
)
async def test_nothing_of_a_request_is_in_its_error(
    client: Client, method: str, path: str, body: dict[str, Any] | None
) -> None:
    async with client.request(method, path, json=body) as response:
        assert response.status >= 400
    told = await told_of(client, 1)
    assert len(told["errors"]) == 1
    assert "a-secret" not in str(told)
    assert "a-secret" not in (await page(client)).text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InvalidOutputError(["'a-secret' is not of type 'object'."]), "in the format that was asked for"),
        (UnknownModelError("a-secret"), "The model does not exist"),
    ],
)
async def test_nothing_that_an_error_quotes_is_told(
    client: Client, router: ScriptedRouter, error: Exception, words: str
) -> None:
    router.script = [error]
    await chat(client)
    told = await told_of(client, 1)
    assert words in told["errors"][0]["message"]
    assert "a-secret" not in str(told)


async def test_a_fault_of_our_own_has_its_details_in_the_log_alone(
    client: Client, router: ScriptedRouter
) -> None:
    router.script = [ZeroDivisionError("a-secret")]
    await chat(client)
    (error,) = (await told_of(client, 1))["errors"]
    assert error["message"] == "A fault of the server's: ZeroDivisionError. Its log has more."


# The page ---------------------------------------------------------------------------------------------------


async def test_the_page_tells_what_is_served_by_whom(client: Client, router: ScriptedRouter) -> None:
    ready, tripped = router.state.workers[0], WorkerSnapshot(1, SlotState.TRIPPED, "gone", None, 4, 0, 0, ())
    warm = replace(ready, slot=2, model="composer-2.5", in_flight=0, notes=(), rss_bytes=254803968)
    router.state = replace(
        router.state,
        workers=(ready, tripped, warm),
        draining=1,
        subprocesses=2,
        waiting=1234,
        tools=ToolsSnapshot("stdio", parked=5),
    )
    shown = await page(client)
    assert shown.section("Served").startswith("Version ")
    assert "MCP over stdio, not proven yet" in shown.section("Served")
    assert "Agent 2026.09.23-86fc751 /opt/agent" in shown.section("Served")
    assert shown.section("Requests").startswith("in flight 0 in the queue 1,234 wait for tools 5")
    assert shown.section("Workers") == (
        "Worker 0 ready 1 request, 2 sessions in stock · process 42 a note"
        " Worker 1 tripped given up for now; tried again every half minute · started again 4 times gone"
        " Worker 2 for composer-2.5 ready idle, 2 sessions in stock · process 42 · 243 MiB"
        " 1 worker replaced, ending what is open 2 processes for one request each"
    )


async def test_the_page_says_in_its_title_and_on_top_that_nothing_can_be_served(
    client: Client, router: ScriptedRouter
) -> None:
    error = AuthenticationError()
    worker = WorkerSnapshot(0, SlotState.TRIPPED, str(error), None, 0, 0, 0, ())
    router.state = replace(router.state, ready=False, reason=str(error), workers=(worker,))
    router.description = error
    shown = await page(client)
    assert "<title>cursorpipe: not ready</title>" in shown.text
    # Said once, where it is read first.
    assert shown.words.count(str(error)) == 1
    assert shown.words.count("see above") == 2


async def test_the_page_says_on_top_that_no_worker_serves(client: Client, router: ScriptedRouter) -> None:
    router.state = replace(router.state, reason="No worker stays alive. It crashed.")
    shown = await page(client)
    assert "<title>cursorpipe: ready without workers</title>" in shown.text
    assert "No worker stays alive. It crashed." in shown.words


async def test_an_empty_page_says_so(client: Client) -> None:
    shown = await page(client)
    assert shown.section("Recent errors") == "None since the start."
    assert "1 min 0 0 – 5 min 0 0 – 30 min 0 0 –" in shown.section("Requests")
    assert shown.section("The last half hour").count("none yet") == 2


async def test_a_busy_page_draws_what_was(client: Client, router: ScriptedRouter) -> None:
    await chat(client)
    router.script = [QueueFullError("full", retry_after=1)]
    await chat(client)
    await told_of(client, 2)
    shown = await page(client)
    chart = shown.section("The last half hour")
    assert "2 requests, 1 of them failed." in chart
    assert "none yet" not in chart
    marks = {attrs["class"]: attrs["d"] for tag, attrs in shown.tags if tag == "path"}
    assert marks["fine"]
    assert marks["failed"]
    assert marks["line"]


async def test_whatever_comes_from_elsewhere_is_text(client: Client, router: ScriptedRouter) -> None:
    evil = "<script>alert(1)</script>\"'&"
    worker = WorkerSnapshot(0, SlotState.READY, evil, 1, 0, 0, 0, (evil,), model=evil)
    router.state = replace(router.state, reason=f"{evil}r", workers=(worker,))
    router.description = AgentDescription(evil, evil)
    router.script = [AgentCrashError(evil)]
    async with client.post(CHAT, json=ask(), headers={"x-request-id": evil}) as response:
        assert response.status == 500
    await told_of(client, 1)
    shown = await page(client)
    assert shown.text.count("<script") == 1
    assert shown.words.count("alert(1)") == 8


async def test_the_page_loads_nothing_and_runs_only_its_own(client: Client) -> None:
    response = await client.get("/")
    policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    shown = Page(await response.text())
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(shown.inline[kind].encode()).digest()).decode()
        assert policy[f"{kind}-src"] == f"'sha256-{digest}'"
    for tag, attrs in shown.tags:
        assert "style" not in attrs, "the policy forbids it"
        assert not any(name.startswith("on") for name in attrs), "the policy forbids it"
        source = attrs.get("src") or (attrs.get("href") if tag != "a" else None)
        assert source is None or source.startswith("data:")
    assert response.headers["Cache-Control"] == "no-store"


async def test_every_link_of_the_page_leads_somewhere(client: Client) -> None:
    links = [attrs["href"] for tag, attrs in (await page(client)).tags if tag == "a"]
    assert len(links) >= 6
    for link in links:
        assert link is not None
        assert (await client.get(link)).status == 200


async def test_the_page_is_small(client: Client, router: ScriptedRouter) -> None:
    for number in range(30):
        router.script = [AgentCrashError(f"{number} " + "x" * 1000)]
        await chat(client)
    await told_of(client, 30)
    assert len((await page(client)).text.encode()) < 64_000


# Who may look -----------------------------------------------------------------------------------------------


def basic(password: str, name: str = "me") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.mark.parametrize("path", ["/", "/status", "/metrics"])
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
        (basic(TOKEN), 200),
        (basic(TOKEN, name=""), 200),
        (basic("wrong"), 401),
        (basic("", name=TOKEN), 401),
        ({"Authorization": "Basic %%%"}, 401),
        ({"Authorization": "Basic /w=="}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({**basic(TOKEN), "x-api-key": "wrong"}, 401),
    ],
)
async def test_the_token_is_asked_for_and_a_browser_can_give_it(
    make_client: MakeClient, path: str, headers: dict[str, str], code: int
) -> None:
    client = await make_client(bearer_token=TOKEN)
    async with client.get(path, headers=headers) as response:
        assert response.status == code
        asks = response.headers.getall("WWW-Authenticate", [])
        assert [each.split()[0] for each in asks] == ([] if code == 200 else ["Bearer", "Basic"])


async def test_a_password_opens_nothing_that_acts(make_client: MakeClient, router: ScriptedRouter) -> None:
    client = await make_client(bearer_token=TOKEN)
    for method, path in (("POST", CHAT), ("GET", "/v1/models")):
        async with client.request(method, path, json=ask(), headers=basic(TOKEN)) as response:
            assert response.status == 401
            assert "Basic" not in str(response.headers.getall("WWW-Authenticate"))
    assert not router.asked


async def test_metrics_that_are_open_ask_nobody(make_client: MakeClient) -> None:
    client = await make_client(bearer_token=TOKEN, metrics_auth=MetricsAuth.OPEN)
    assert (await client.get("/metrics")).status == 200
    assert (await client.get("/status")).status == 401


@pytest.mark.parametrize("path", ["/", "/status"])
async def test_a_foreign_page_can_link_to_it_but_not_look_into_it(client: Client, path: str) -> None:
    assert (await client.get(path, headers={**FOREIGN, **NAVIGATION})).status == 200
    assert (await client.get(path, headers=FOREIGN)).status == 403
    framed = {**FOREIGN, **NAVIGATION, "Sec-Fetch-Dest": "iframe"}
    assert (await client.get(path, headers=framed)).status == 403


# The agent's build ------------------------------------------------------------------------------------------


async def test_the_build_is_asked_for_once_a_while(
    client: Client, router: ScriptedRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.gather(*(status(client) for _ in range(5)))
    assert router.described == 1
    monkeypatch.setattr(agent_build, "KEPT_S", 0.0)
    await status(client)
    assert router.described == 2


async def test_an_agent_that_does_not_tell_its_version_holds_up_nobody(
    client: Client, router: ScriptedRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_build, "PATIENCE_S", 0.01)
    router.description = asyncio.Event()
    assert (await status(client))["agent"] == {
        "path": None,
        "version": None,
        "reason": "The agent does not tell its version in time.",
    }


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        (AgentNotFoundError("agent"), str(AgentNotFoundError("agent"))),
        (AgentDescription("/opt/agent", None), "The agent does not tell its version."),
    ],
)
async def test_why_the_build_is_not_known_is_told(
    client: Client, router: ScriptedRouter, description: Any, reason: str
) -> None:
    router.description = description
    assert (await status(client))["agent"]["reason"] == reason


async def test_head_is_answered(client: Client) -> None:
    response = await client.head("/")
    assert (response.status, await response.read()) == (200, b"")
