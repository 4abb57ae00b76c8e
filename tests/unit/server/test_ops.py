from __future__ import annotations

from dataclasses import replace

from cursorpipe_core import SlotState, Snapshot, Strategy, ToolsSnapshot, WorkerSnapshot
from tests.unit.server.conftest import Client, ScriptedRouter


async def test_health_is_this_and_nothing_else(client: Client) -> None:
    response = await client.get("/health")
    assert await response.json() == {"status": "ok"}


async def test_ready_tells_what_each_worker_does(client: Client) -> None:
    response = await client.get("/ready")
    body = await response.json()
    assert response.status == 200
    assert body["ready"] is True
    assert body["workers"] == [
        {
            "slot": 0,
            "state": "ready",
            "reason": None,
            "pid": 42,
            "restarts": 0,
            "in_flight": 1,
            "sessions_ready": 2,
            "notes": ["a note"],
            "permissions_refused": 0,
            "model": None,
            "rss_bytes": 0,
        }
    ]


async def test_ready_tells_how_callers_tools_fare(client: Client, router: ScriptedRouter) -> None:
    router.state = replace(router.state, tools=ToolsSnapshot("stdio", parked=2, calls=7, rebuilt=1))
    body = await (await client.get("/ready")).json()
    assert body["tools"] == {
        "channel": "stdio",
        "proven": False,
        "parked": 2,
        "calls": 7,
        "groups": 0,
        "new": 0,
        "resumed": 0,
        "rebuilt": 1,
        "expired": 0,
        "died": 0,
        "refused": 0,
    }


async def test_not_ready_is_503_with_the_reason(client: Client, router: ScriptedRouter) -> None:
    worker = WorkerSnapshot(0, SlotState.TRIPPED, "not signed in", None, 3, 0, 0, ())
    router.state = Snapshot(
        ready=False,
        reason="not signed in",
        strategy=Strategy.ACP,
        workers=(worker,),
        draining=0,
        subprocesses=0,
        waiting=0,
        tools=ToolsSnapshot("http", proven=True),
    )
    response = await client.get("/ready")
    body = await response.json()
    assert response.status == 503
    assert (body["reason"], body["workers"][0]["state"]) == ("not signed in", "tripped")


async def test_the_routes_of_operators_answer_to_head(client: Client) -> None:
    assert (await client.head("/health")).status == 200
