from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator

import psutil
import pytest

from cursorpipe_core import AgentSettings, Finding, Status, Strategy, SupervisorSettings, ToolsMode
from cursorpipe_server.config import ServerSettings, Settings
from cursorpipe_server.surroundings import check_open_files, check_port, check_token, files_needed

STRONG = "Zx81-kq0_Tf3vLw9-Rp"


def cause(finding: Finding) -> str:
    assert finding.remedy is not None, finding
    return finding.remedy.cause


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_free_port(taken: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    assert port != taken
    finding = check_port(ServerSettings(host="127.0.0.1", port=port))
    assert finding.status is Status.OK
    assert str(port) in finding.detail
    assert check_port(ServerSettings(port=0)).status is Status.OK


def test_a_port_that_is_taken_and_by_whom(taken: int) -> None:
    finding = check_port(ServerSettings(host="localhost", port=taken))
    assert finding.status is Status.FAILED
    assert cause(finding) == "port_taken"
    assert f"process {os.getpid()}" in finding.detail


def test_a_port_that_another_user_has_taken(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    finding = check_port(ServerSettings(host="127.0.0.1", port=taken))
    assert (finding.status, cause(finding)) == (Status.FAILED, "port_held")
    assert "another user" in finding.detail


def test_who_has_the_port_at_another_address_is_not_in_the_way() -> None:
    with socket.create_server(("127.0.0.2", 0)) as other, socket.socket() as bound:
        port = other.getsockname()[1]
        assert check_port(ServerSettings(host="127.0.0.1", port=port)).status is Status.OK
        # Bound and not listening: it is in the way, and no list names it.
        bound.bind(("127.0.0.1", port))
        finding = check_port(ServerSettings(host="127.0.0.1", port=port))
        assert (finding.status, cause(finding)) == (Status.FAILED, "port_held")


def test_a_port_that_the_service_manager_holds(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class First(psutil.Process):
        def __init__(self, pid: int) -> None:
            super().__init__(os.getpid())

        def name(self) -> str:
            return "systemd"

    (mine,) = (held for held in psutil.net_connections("tcp") if held.laddr == ("127.0.0.1", taken))
    monkeypatch.setattr(psutil, "net_connections", lambda kind: [mine._replace(pid=1)])
    monkeypatch.setattr(psutil, "Process", First)
    finding = check_port(ServerSettings(host="127.0.0.1", port=taken))
    assert (finding.status, cause(finding)) == (Status.WARNING, "port_held")
    assert "systemd, process 1" in finding.detail


def test_a_port_that_only_root_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    assert cause(check_port(ServerSettings(host="127.0.0.1", port=80))) == "port_forbidden"


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_ours(host: str) -> None:
    assert cause(check_port(ServerSettings(host=host, port=8080))) == "host_foreign"


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
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert check_open_files(limits).status is Status.OK


def test_more_may_go_on_more_files_are_needed() -> None:
    base = files_needed(SupervisorSettings())
    assert files_needed(SupervisorSettings(max_queue=1000)) > base
    # Tools have named models warmed, too.
    assert files_needed(SupervisorSettings(tools=ToolsMode.OFF)) < base
    assert files_needed(SupervisorSettings(tools=ToolsMode.OFF, warm_models=("*",))) == base
    assert files_needed(SupervisorSettings(strategy=Strategy.SUBPROCESS)) < base
