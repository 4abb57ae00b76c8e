from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator

import psutil
import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from cursorpipe_core import AgentSettings, Finding, Status, Strategy, SupervisorSettings, ToolsMode
from cursorpipe_server import surroundings
from cursorpipe_server.config import ServerSettings, Settings
from cursorpipe_server.surroundings import check_open_files, check_port, check_token, files_needed
from tests.unit.server.conftest import MakeClient

STRONG = "Zx81-kq0_Tf3vLw9-Rp"


def cause(finding: Finding) -> str:
    assert finding.remedy is not None, finding
    return finding.remedy.cause


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def test_a_free_port(taken: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    assert port != taken
    finding = await check_port(ServerSettings(host="127.0.0.1", port=port))
    assert finding.status is Status.OK
    assert str(port) in finding.detail
    assert (await check_port(ServerSettings(port=0))).status is Status.OK


async def test_a_port_that_is_taken_and_by_whom(taken: int) -> None:
    finding = await check_port(ServerSettings(host="localhost", port=taken))
    assert finding.status is Status.FAILED
    assert cause(finding) == "port_taken"
    assert f"process {os.getpid()}" in finding.detail


async def test_a_port_that_another_user_has_taken(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    finding = await check_port(ServerSettings(host="127.0.0.1", port=taken))
    assert (finding.status, cause(finding)) == (Status.FAILED, "port_held")
    assert "this user may not see" in finding.detail


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_a_server_whose_process_may_not_be_seen_is_known_by_its_answer(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    client = await make_client(bearer_token=STRONG)
    monkeypatch.setattr(psutil, "net_connections", lambda kind: [])
    finding = await check_port(ServerSettings(host=host, port=client.port or 0))
    assert (finding.status, cause(finding)) == (Status.WARNING, "already_served")


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[]", b'{"version": "1", "ready": true}'])
async def test_another_server_is_not_taken_for_this_one(
    aiohttp_server: AiohttpServer, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    async def ready(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/ready", ready)
    server = await aiohttp_server(app)
    monkeypatch.setattr(psutil, "net_connections", lambda kind: [])
    finding = await check_port(ServerSettings(host="127.0.0.1", port=server.port or 0))
    assert (finding.status, cause(finding)) == (Status.FAILED, "port_held")


async def test_what_has_the_port_and_says_nothing_is_not_waited_for(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "net_connections", lambda kind: [])
    monkeypatch.setattr(surroundings, "ANSWER_WITHIN_S", 0.01)
    finding = await check_port(ServerSettings(host="127.0.0.1", port=taken))
    assert (finding.status, cause(finding)) == (Status.FAILED, "port_held")


async def test_who_has_the_port_at_another_address_is_not_in_the_way() -> None:
    with socket.create_server(("127.0.0.2", 0)) as other, socket.socket() as bound:
        port = other.getsockname()[1]
        assert (await check_port(ServerSettings(host="127.0.0.1", port=port))).status is Status.OK
        # Bound and not listening: it is in the way, and no list names it.
        bound.bind(("127.0.0.1", port))
        finding = await check_port(ServerSettings(host="127.0.0.1", port=port))
        assert (finding.status, cause(finding)) == (Status.FAILED, "port_held")


async def test_a_port_that_the_service_manager_holds(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class First(psutil.Process):
        def __init__(self, pid: int) -> None:
            super().__init__(os.getpid())

        def name(self) -> str:
            return "systemd"

    (mine,) = (held for held in psutil.net_connections("tcp") if held.laddr == ("127.0.0.1", taken))
    monkeypatch.setattr(psutil, "net_connections", lambda kind: [mine._replace(pid=1)])
    monkeypatch.setattr(psutil, "Process", First)
    finding = await check_port(ServerSettings(host="127.0.0.1", port=taken))
    assert (finding.status, cause(finding)) == (Status.WARNING, "port_held")
    assert "systemd, process 1" in finding.detail


async def test_a_port_that_only_root_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    assert cause(await check_port(ServerSettings(host="127.0.0.1", port=80))) == "port_forbidden"


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_a_host_that_is_not_ours(host: str) -> None:
    assert cause(await check_port(ServerSettings(host=host, port=8080))) == "host_foreign"


@pytest.mark.parametrize(
    ("fields", "status", "expected"),
    [
        ({"bearer_token": STRONG}, Status.OK, ""),
        ({"host": "127.0.0.1"}, Status.OK, ""),
        ({"host": "0.0.0.0"}, Status.WARNING, "open_to_all"),
        ({"bearer_token": "choose-one"}, Status.WARNING, "weak_token"),
        ({"bearer_token": "a" * 40}, Status.WARNING, "weak_token"),
        ({"bearer_tokens": f"ann={STRONG},bob=short"}, Status.WARNING, "weak_token"),
    ],
)
def test_who_could_use_the_server(fields: dict[str, str], status: Status, expected: str) -> None:
    settings = Settings(
        server=ServerSettings(**fields),  # type: ignore[arg-type]
        agent=AgentSettings(),
        supervision=SupervisorSettings(),
    )
    finding = check_token(settings)
    assert finding.status is status
    assert (finding.remedy.cause if finding.remedy else "") == expected
    assert not [
        value for name, value in fields.items() if name.startswith("bearer") and value in finding.detail
    ]
    if "bob" in fields.get("bearer_tokens", ""):
        assert "bob" in finding.detail
        assert "ann" not in finding.detail


def test_the_limit_of_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = SupervisorSettings()
    needed = files_needed(limits)
    assert needed <= 1024, "the usual limit does for the defaults"
    monkeypatch.setattr(resource, "getrlimit", lambda _: (needed, needed))
    assert check_open_files(limits).status is Status.OK
    monkeypatch.setattr(resource, "getrlimit", lambda _: (needed - 1, needed))
    finding = check_open_files(limits)
    assert finding.status is Status.WARNING
    assert cause(finding) == "few_files"
    assert str(needed) in finding.detail
    monkeypatch.setattr(resource, "getrlimit", lambda _: (24, needed))
    assert check_open_files(limits).status is Status.FAILED
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert check_open_files(limits).status is Status.OK


def test_more_may_go_on_more_files_are_needed() -> None:
    base = files_needed(SupervisorSettings())
    assert files_needed(SupervisorSettings(max_queue=1000)) > base
    # Tools have named models warmed, too.
    assert files_needed(SupervisorSettings(tools=ToolsMode.OFF)) < base
    assert files_needed(SupervisorSettings(tools=ToolsMode.OFF, warm_models=("*",))) == base
    assert files_needed(SupervisorSettings(strategy=Strategy.SUBPROCESS)) < base
