"""Which backend serves what: the table of the user's description, cell by cell."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from cursorpipe_core import AgentCrashError, Backend, CompletionRequest, Course, Message, Role
from cursorpipe_core.config import Permissions
from cursorpipe_server.keys import ROUTER
from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Serve, answer, ask

NAMED = "composer-2.5"


@pytest.mark.parametrize(
    ("strategy", "model", "backend", "pinned"),
    [
        ("auto", "auto", "acp", None),
        ("auto", None, "acp", None),
        ("auto", NAMED, "subprocess", NAMED),
        ("acp", "auto", "acp", None),
        ("acp", None, "acp", None),
        ("acp", NAMED, "acp", None),
        ("subprocess", "auto", "subprocess", None),
        ("subprocess", None, "subprocess", None),
        ("subprocess", NAMED, "subprocess", NAMED),
    ],
)
async def test_a_request_goes_where_the_table_says(
    serve: Serve, agent: DemoAgent, strategy: str, model: str | None, backend: str, pinned: str | None
) -> None:
    client = await serve(strategy=strategy)
    fields = {} if model is None else {"model": model}
    async with client.post(CHAT, json=ask("hi", **fields)) as response:
        body = await response.json()
        assert response.status == 200
        assert "hi" in body["choices"][0]["message"]["content"]
        assert body["model"] == (model or "auto")
        assert response.headers["x-cursorpipe-backend"] == backend
        assert response.headers["x-cursorpipe-model"] == (pinned or "auto")
        ignored = strategy == "acp" and model == NAMED
        assert response.headers.get("x-cursorpipe-ignored") == ("model" if ignored else None)
    printed = agent.starts("print")
    assert len(printed) == (backend == "subprocess")
    for argv in printed:
        assert ("--model" in argv) is (pinned is not None)
        if pinned is not None:
            assert argv[argv.index("--model") + 1] == pinned
    assert bool(agent.starts("acp")) is (strategy != "subprocess")


async def test_the_prompt_is_never_in_the_command_line(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(strategy="subprocess")
    assert "--my secret" in await answer(client, "--my secret")
    (argv,) = agent.starts("print")
    assert not [word for word in argv if "secret" in word]


async def test_the_key_travels_in_the_environment_and_never_in_the_command_line(
    serve: Serve, agent: DemoAgent
) -> None:
    client = await serve(api_key="key-123")
    await answer(client, "hi", model=NAMED)
    for start in agent.events("start"):
        assert "CURSOR_API_KEY" in start["env"]
        assert "key-123" not in " ".join(start["argv"])


async def test_an_agent_sees_nothing_of_the_servers_environment_but_what_it_needs(
    serve: Serve, agent: DemoAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = {"AWS_SECRET_ACCESS_KEY", "CURSORPIPE_BEARER_TOKEN", "CURSORPIPE_API_KEY"}
    proxies = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}
    authorities = {"NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR"}
    needed = {"PATH", "HOME", "LANG", "LC_ALL", "CURSOR_DATA_DIR", *proxies, *authorities}
    for name in (private | needed | {"WANTED"}) - {"PATH", "HOME"}:
        monkeypatch.setenv(name, "x")
    client = await serve(agent_env=("WANTED",))
    await answer(client, "hi", model=NAMED)
    for start in agent.events("start"):
        assert not private & set(start["env"])
        assert needed | {"WANTED", "NO_OPEN_BROWSER"} <= set(start["env"])


async def test_each_process_has_a_place_of_its_own_that_is_gone_afterwards(
    serve: Serve, agent: DemoAgent
) -> None:
    client = await serve(workers=2, pool_size=2)
    await answer(client, "hi", model=NAMED)
    starts = [*agent.events("start", mode="acp"), *agent.events("start", mode="print")]
    assert len({start["cwd"] for start in starts}) == 3
    assert len({start["config_dir"] for start in starts}) == 3
    await client.close()
    assert not [start for start in starts if _exists(start["cwd"]) or _exists(start["config_dir"])]


async def test_a_workspace_is_where_the_agent_works_if_one_is_set(
    serve: Serve, agent: DemoAgent, tmp_path: Path
) -> None:
    client = await serve(workspace=str(tmp_path))
    await answer(client, "hi", model=NAMED)
    assert {start["cwd"] for start in agent.events("start")} == {str(tmp_path)}
    (argv,) = agent.starts("print")
    assert argv[argv.index("--workspace") + 1] == str(tmp_path)


async def test_a_shared_configuration_is_told_which_model_is_meant_by_none(
    serve: Serve, agent: DemoAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURSOR_CONFIG_DIR", f"{tmp_path}/config")
    client = await serve(isolate_config="false")
    await answer(client, "hi", model=NAMED)
    await answer(client, "hi")
    assert {start["config_dir"] for start in agent.events("start")} == {f"{tmp_path}/config"}
    (acp,) = agent.starts("acp")
    assert acp[-3:] == ["--model", "auto", "acp"]


async def test_sessions_are_put_into_the_mode_and_used_once(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(pool_size=2, mode="plan")
    for question in ("one", "two", "three"):
        assert "turn 2" not in await answer(client, question)
    sessions = [event["session"] for event in agent.events("prompt")]
    assert len(set(sessions)) == 3
    modes = {event["session"]: event["params"]["modeId"] for event in agent.events(method="session/set_mode")}
    assert {modes[session] for session in sessions} == {"plan"}


async def test_a_pinned_model_runs_in_the_mode_too(serve: Serve, agent: DemoAgent) -> None:
    await answer(await serve(strategy="subprocess"), "hi", model=NAMED)
    (argv,) = agent.starts("print")
    assert argv[argv.index("--mode") + 1] == "ask"


@pytest.mark.parametrize("permissions", list(Permissions))
async def test_a_pinned_model_may_do_what_the_operator_said(
    serve: Serve, agent: DemoAgent, permissions: Permissions
) -> None:
    client = await serve(permissions=permissions)
    await answer(client, "hi", model=NAMED)
    (argv,) = agent.starts("print")
    assert ("--force" in argv) is (permissions is Permissions.ALLOW)


async def test_an_agent_without_the_mode_serves_all_the_same_and_it_is_said(
    serve: Serve, agent: DemoAgent
) -> None:
    agent.set(SCENARIO="no-modes")
    client = await serve()
    await answer(client, "hi")
    workers = (await (await client.get("/ready")).json())["workers"]
    assert "does not offer the mode 'ask'" in workers[0]["notes"][0]


async def test_models_are_those_of_the_cli_with_auto_first(serve: Serve) -> None:
    client = await serve(strategy="subprocess")
    body = await (await client.get("/v1/models")).json()
    names = [model["id"] for model in body["data"]]
    assert names[0] == "auto"
    assert NAMED in names
    assert (await client.get(f"/v1/models/{NAMED}")).status == 200


async def test_a_model_that_the_cli_refuses_is_404_with_the_nearest_names(serve: Serve) -> None:
    client = await serve(strategy="subprocess")
    async with client.post(CHAT, json=ask(model="composer-2.6")) as response:
        error = (await response.json())["error"]
        assert (response.status, error["code"], error["param"]) == (404, "model_not_found", "model")
        assert NAMED in error["message"]


@pytest.mark.parametrize("model", ["-p", "--force", "a b", "a\nb", "a\0b", "x" * 300])
async def test_what_cannot_be_a_models_name_never_reaches_a_command_line(
    serve: Serve, agent: DemoAgent, model: str
) -> None:
    client = await serve(strategy="subprocess")
    async with client.post(CHAT, json=ask(model=model)) as response:
        assert response.status == 400
        assert (await response.json())["error"]["param"] == "model"
    assert not agent.starts("print")


async def test_usage_is_reported_by_print_mode_and_estimated_for_acp(serve: Serve) -> None:
    client = await serve()
    async with client.post(CHAT, json=ask("hi", model=NAMED)) as response:
        usage = (await response.json())["usage"]
        assert response.headers["x-cursorpipe-usage"] == "reported"
        assert usage["prompt_tokens"] > 1000
    async with client.post(CHAT, json=ask("hi")) as response:
        usage = (await response.json())["usage"]
        assert response.headers["x-cursorpipe-usage"] == "estimated"
        assert usage["completion_tokens"] > 1
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_a_conversation_reaches_the_agent_with_its_roles(serve: Serve, agent: DemoAgent) -> None:
    client = await serve()
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three?"},
    ]
    async with client.post(CHAT, json={"messages": messages}) as response:
        assert response.status == 200
    (prompt,) = agent.events("prompt")
    order = [prompt["text"].index(part["content"]) for part in messages]
    assert order == sorted(order)
    assert '<message role="system">\nBe brief.\n</message>' in prompt["text"]


def _exists(path: str) -> bool:
    return Path(path).exists()


@pytest.mark.parametrize("model", [None, NAMED])
async def test_a_request_tells_how_long_it_waited_and_when_the_agent_had_it(
    serve: Serve, model: str | None
) -> None:
    one_at_a_time = {"worker_concurrency": 1, "max_subprocesses": 1}
    client = await serve(supervision=one_at_a_time)
    assert client.app is not None
    router = client.app[ROUTER]

    async def went(text: str) -> tuple[float, float]:
        course = Course()
        events = router.complete(CompletionRequest([Message(Role.USER, text)], model), course)
        async with aclosing(events) as batches:
            async for batch in batches:
                assert batch
        assert course.backend is (Backend.ACP if model is None else Backend.SUBPROCESS)
        assert course.model == model
        assert course.queued_s is not None
        assert course.prompted_s is not None
        return course.queued_s, course.prompted_s

    slow = "[[demo:markers marker=m count=4 ms=50]]"
    first, second = await asyncio.gather(went(slow), went("hi"))
    assert first[0] < 0.1 < second[0]
    for queued_s, prompted_s in (first, second):
        assert queued_s <= prompted_s


@pytest.mark.parametrize(
    ("model", "backend"), [(None, Backend.SUBPROCESS), (NAMED, Backend.SUBPROCESS)], ids=["auto", "named"]
)
async def test_a_request_that_fails_tells_where_it_was_tried_last(
    serve: Serve, model: str | None, backend: Backend
) -> None:
    client = await serve()
    assert client.app is not None
    course = Course()
    crash = Message(Role.USER, "[[demo:crash-before-first-chunk]]")
    events = client.app[ROUTER].complete(CompletionRequest([crash], model), course)
    with pytest.raises(AgentCrashError):
        await anext(events)
    assert (course.backend, course.model) == (backend, model)
    assert course.prompted_s is not None
