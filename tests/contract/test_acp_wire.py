"""What our ACP client sends, against the protocol's schema as others wrote it down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import acp.schema
import orjson
import pytest
from pydantic import BaseModel

from cursorpipe_core.acp import AcpClient
from cursorpipe_core.completion import CompletionEvent, Finish, FinishReason, TextDelta, ThoughtDelta, Usage
from cursorpipe_core.config import Permissions
from cursorpipe_core.errors import AgentCrashError, AuthenticationError, SessionError
from cursorpipe_core.prompt import Prompt
from cursorpipe_core.turn import Clocks, Turn
from tests.waiting import until

#: The schema of the parameters of each method that a client may send.
METHODS: dict[str, type[BaseModel]] = {
    "initialize": acp.schema.InitializeRequest,
    "authenticate": acp.schema.AuthenticateRequest,
    "session/new": acp.schema.NewSessionRequest,
    "session/set_mode": acp.schema.SetSessionModeRequest,
    "session/prompt": acp.schema.PromptRequest,
    "session/cancel": acp.schema.CancelNotification,
    "session/close": acp.schema.CloseSessionRequest,
}
CLOCKS = Clocks(first_event_s=5, idle_s=5, total_s=5)
NOTIFICATIONS = {"session/cancel"}

INITIALIZED = {
    "protocolVersion": 1,
    "agentCapabilities": {"sessionCapabilities": {"close": {}}},
    "authMethods": [{"id": "cursor_login", "name": "x"}, {"id": "t", "type": "terminal"}, {"broken": 1}],
}
OPTIONS = [
    {"optionId": "always", "kind": "allow_always", "name": "a"},
    {"optionId": "odd", "kind": "wave_hands", "name": "w"},
    {"optionId": "yes", "kind": "allow_once", "name": "y"},
    {"optionId": "cancel", "kind": "reject_once", "name": "n"},
    {"optionId": "also-yes", "kind": "allow_once", "name": "y"},
]


class Agent:
    """The agent's side of the wire, played by the test; every message to it is checked."""

    def __init__(self, permissions: Permissions = Permissions.REFUSE) -> None:
        self.sent: list[dict[str, Any]] = []
        self.client = AcpClient(self._hear, permissions=permissions, client_version="0")

    def _hear(self, line: bytes) -> None:
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        message = orjson.loads(line)
        assert message["jsonrpc"] == "2.0"
        if "method" in message:
            METHODS[message["method"]].model_validate(message["params"])
            assert ("id" in message) is (message["method"] not in NOTIFICATIONS)
        self.sent.append(message)

    def says(self, **message: Any) -> None:
        self.client.feed(orjson.dumps({"jsonrpc": "2.0", **message}) + b"\n")

    def updates(self, session: str, **update: Any) -> None:
        self.says(method="session/update", params={"sessionId": session, "update": update})

    async def answers(self, call: Any, **answer: Any) -> Any:
        """Let the client make a request, answer it, and return what it made of the answer."""
        calling = asyncio.ensure_future(call)
        await asyncio.sleep(0)
        self.says(id=self.sent[-1]["id"], **answer)
        return await calling

    def asks(self, method: str, params: Any) -> dict[str, Any]:
        """Make a request of the client and return its answer."""
        self.says(id=0, method=method, params=params)
        assert self.sent[-1]["id"] == 0
        return self.sent[-1]


@pytest.fixture
async def agent() -> Agent:
    return Agent()


@pytest.fixture
async def begin() -> AsyncIterator[Callable[..., Turn]]:
    turns: list[Turn] = []

    def make(agent: Agent, session: str = "s", ended: Callable[[], None] = lambda: None) -> Turn:
        turn = Turn(prompt_bytes=4, clocks=CLOCKS, left_s=5)
        turns.append(turn)
        agent.client.prompt(session, Prompt("hi"), turn, ended)
        return turn

    yield make
    for turn in turns:
        turn.close()


Begin = Callable[..., Turn]


def chunk(text: str) -> dict[str, Any]:
    return {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}


async def read_all(turn: Turn) -> list[CompletionEvent]:
    events: list[CompletionEvent] = []
    while batch := await turn.read():
        events += batch
    return events


async def test_the_agents_capabilities_are_understood(agent: Agent) -> None:
    capabilities = await agent.answers(agent.client.initialize(5), result=INITIALIZED)
    assert capabilities.close_session
    assert capabilities.auth_methods == ["cursor_login"]


async def test_nothing_that_we_do_not_serve_is_offered(agent: Agent) -> None:
    await agent.answers(agent.client.initialize(5), result=INITIALIZED)
    offered = agent.sent[0]["params"]["clientCapabilities"]
    assert offered == {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False}


async def test_another_version_of_the_protocol_is_refused(agent: Agent) -> None:
    with pytest.raises(AgentCrashError, match="99"):
        await agent.answers(agent.client.initialize(5), result={"protocolVersion": 99})


async def test_a_session_is_opened_with_its_modes(agent: Agent) -> None:
    result = {"sessionId": "s", "modes": {"currentModeId": "agent", "availableModes": [{"id": "ask"}, {}]}}
    session = await agent.answers(agent.client.new_session("/w"), result=result)
    assert (session.id, session.modes) == ("s", ["ask"])
    assert agent.sent[-1]["params"] == {"cwd": "/w", "mcpServers": []}


@pytest.mark.parametrize("result", [None, {}, {"sessionId": 7}, []])
async def test_a_session_without_an_id_is_none(agent: Agent, result: Any) -> None:
    with pytest.raises(SessionError):
        await agent.answers(agent.client.new_session("/w"), result=result)


async def test_a_session_without_a_login_is_refused_as_such(agent: Agent) -> None:
    with pytest.raises(AuthenticationError):
        await agent.answers(agent.client.new_session("/w"), error={"code": -32000, "message": "x"})


async def test_a_refused_login_is_one_whatever_its_words(agent: Agent) -> None:
    with pytest.raises(AuthenticationError):
        await agent.answers(
            agent.client.authenticate("cursor_login"), error={"code": -32602, "message": "odd"}
        )


async def test_the_other_calls_are_wellformed(agent: Agent, begin: Begin) -> None:
    await agent.answers(agent.client.set_mode("s", "ask"), result={})
    begin(agent)
    agent.client.cancel("s")
    agent.client.forget_session("s", close=True)
    methods = [message["method"] for message in agent.sent]
    assert methods == ["session/set_mode", "session/prompt", "session/cancel", "session/close"]


async def test_an_answer_is_its_chunks_and_then_the_end(agent: Agent, begin: Begin) -> None:
    turn = begin(agent)
    agent.updates("s", sessionUpdate="agent_thought_chunk", content={"type": "text", "text": "hm"})
    agent.updates("s", **chunk("Hel"))
    agent.updates("s", **chunk("lo"))
    usage = {"inputTokens": 5, "outputTokens": 2, "totalTokens": 7, "cachedReadTokens": 3}
    agent.says(id=agent.sent[0]["id"], result={"stopReason": "max_tokens", "usage": usage})
    assert await read_all(turn) == [
        ThoughtDelta(["hm"]),
        TextDelta(["Hel", "lo"]),
        Usage(8, 2, 3, reasoning_tokens=1),
        Finish(FinishReason.LENGTH),
    ]


async def test_sessions_are_kept_apart(agent: Agent, begin: Begin) -> None:
    one, other = begin(agent, "one"), begin(agent, "other")
    agent.updates("other", **chunk("B"))
    agent.updates("one", **chunk("A"))
    agent.updates("nobody", **chunk("X"))
    assert await one.read() == [TextDelta(["A"])]
    assert await other.read() == [TextDelta(["B"])]


async def test_what_comes_after_the_end_goes_nowhere(agent: Agent, begin: Begin) -> None:
    turn = begin(agent)
    agent.updates("s", **chunk("A"))
    agent.says(id=agent.sent[0]["id"], result={"stopReason": "end_turn"})
    agent.updates("s", **chunk("late"))
    assert TextDelta(["late"]) not in await read_all(turn)


@pytest.mark.parametrize(
    "update",
    [
        None,
        {},
        {"sessionUpdate": 7},
        {"sessionUpdate": "agent_message_chunk"},
        {"sessionUpdate": "agent_message_chunk", "content": {"type": "image", "data": "x"}},
        {"sessionUpdate": "agent_message_chunk", "content": "text"},
        {"sessionUpdate": "agent_thought_chunk", "content": None},
        {"sessionUpdate": "user_message_chunk", "content": {"type": "text", "text": "echo"}},
        {"sessionUpdate": "invented_tomorrow"},
        {"sessionUpdate": ["agent_message_chunk"]},
    ],
)
async def test_updates_of_unknown_shape_are_passed_over(agent: Agent, begin: Begin, update: Any) -> None:
    turn = begin(agent)
    agent.says(method="session/update", params={"sessionId": "s", "update": update})
    agent.says(method="session/update", params=update)
    agent.updates("s", **chunk("fine"))
    assert await turn.read() == [TextDelta(["fine"])]


@pytest.mark.parametrize("reason", [None, {"odd": 1}, ["end_turn"], "invented_tomorrow"])
async def test_an_end_for_an_unknown_reason_is_an_end(agent: Agent, begin: Begin, reason: Any) -> None:
    ended: list[int] = []
    turn = begin(agent, ended=lambda: ended.append(1))
    agent.says(method="session/update", params={"sessionId": ["s"], "update": chunk("x")})
    agent.updates("s", **chunk("A"))
    agent.says(id=agent.sent[0]["id"], result={"stopReason": reason})
    assert (await read_all(turn))[-1] == Finish(FinishReason.STOP)
    assert ended == [1]


async def test_a_turn_that_the_agent_cancels_by_itself_is_a_failure(agent: Agent, begin: Begin) -> None:
    turn = begin(agent)
    agent.says(id=agent.sent[0]["id"], result={"stopReason": "cancelled"})
    with pytest.raises(SessionError):
        await turn.read()


async def test_the_session_is_free_only_after_the_prompts_own_answer(agent: Agent, begin: Begin) -> None:
    ended: list[int] = []
    begin(agent, ended=lambda: ended.append(1))
    agent.client.cancel("s")
    agent.updates("s", **chunk("late"))
    assert not ended
    agent.says(id=agent.sent[0]["id"], result={"stopReason": "cancelled"})
    assert ended == [1]


@pytest.mark.parametrize(("policy", "option"), [(Permissions.REFUSE, "cancel"), (Permissions.ALLOW, "yes")])
async def test_permission_is_decided_by_kind(begin: Begin, policy: Permissions, option: str) -> None:
    agent = Agent(policy)
    begin(agent)
    params = {"sessionId": "s", "toolCall": {"toolCallId": "1"}, "options": OPTIONS}
    answer = agent.asks("session/request_permission", params)["result"]
    acp.schema.RequestPermissionResponse.model_validate(answer)
    assert answer == {"outcome": {"outcome": "selected", "optionId": option}}


@pytest.mark.parametrize("params", [None, {}, {"sessionId": "s"}, {"sessionId": "s", "options": [1, {}]}])
async def test_a_permission_request_without_the_wanted_option_is_still_answered(
    agent: Agent, begin: Begin, params: Any
) -> None:
    begin(agent)
    answer = agent.asks("session/request_permission", params)["result"]
    acp.schema.RequestPermissionResponse.model_validate(answer)
    assert answer == {"outcome": {"outcome": "cancelled"}}


async def test_permission_is_not_given_to_a_turn_that_nobody_reads(begin: Begin) -> None:
    agent = Agent(Permissions.ALLOW)
    begin(agent).close()
    answer = agent.asks("session/request_permission", {"sessionId": "s", "options": OPTIONS})
    assert answer["result"] == {"outcome": {"outcome": "cancelled"}}


@pytest.mark.parametrize(
    ("method", "outcome"),
    [("cursor/ask_question", "skipped"), ("cursor/create_plan", "rejected")],
)
async def test_cursors_own_requests_get_nested_outcomes(agent: Agent, method: str, outcome: str) -> None:
    assert agent.asks(method, {"toolCallId": "1"})["result"]["outcome"]["outcome"] == outcome


@pytest.mark.parametrize("method", ["cursor/update_todos", "cursor/invented_tomorrow"])
async def test_other_requests_of_cursors_get_an_empty_result(agent: Agent, method: str) -> None:
    assert agent.asks(method, {})["result"] == {}


@pytest.mark.parametrize(
    ("method", "code"),
    [("fs/read_text_file", -32601), ("invented", -32601), ("elicitation/create", -32602)],
)
async def test_everything_else_is_refused_and_not_left_unanswered(
    agent: Agent, method: str, code: int
) -> None:
    assert agent.asks(method, {})["error"]["code"] == code


async def test_the_end_of_the_agent_fails_its_turns(agent: Agent, begin: Begin) -> None:
    turn = begin(agent)
    agent.client.close(AgentCrashError("gone"))
    with pytest.raises(AgentCrashError):
        await turn.read()


async def test_an_error_of_the_agent_does_not_repeat_a_secret() -> None:
    sent: list[bytes] = []
    client = AcpClient(
        sent.append,
        permissions=Permissions.REFUSE,
        client_version="1",
        redact=lambda text: text.replace("s3cret", "***"),
    )
    opening = asyncio.create_task(client.new_session("/"))
    await until(lambda: sent)
    error = {"code": -32603, "message": "the key s3cret is spent"}
    answer = {"jsonrpc": "2.0", "id": orjson.loads(sent[0])["id"], "error": error}
    client.feed(orjson.dumps(answer) + b"\n")
    with pytest.raises(SessionError) as caught:
        await opening
    assert "***" in str(caught.value)
    assert "s3cret" not in str(caught.value)
