from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from cursorpipe_core.approvals import MAX_ENTRIES, approve
from cursorpipe_core.demo_agent.approvals import is_approved
from cursorpipe_core.endpoint import Address, Transport

URL = "http://127.0.0.1:41001/t/secret/mcp"
HTTP: dict[str, Any] = {
    "type": "http",
    "name": "ct7k2p",
    "url": URL,
    "headers": [{"name": "Authorization", "value": "Bearer b"}],
}
STDIO: dict[str, Any] = {
    "name": "ct7k2p",
    "command": "/usr/bin/python3",
    "args": ["-SE", "/opt/relay.py"],
    "env": [{"name": "PIPE_PORT", "value": "41002"}, {"name": "PIPE_TOKEN", "value": "t"}],
}
SERVERS = [HTTP, STDIO]


def address(server: dict[str, Any]) -> Address:
    return Address(server["name"], Transport.STDIO if "command" in server else Transport.HTTP, server)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.mkdir()
    return path


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    return path


def only_list(config: Path) -> Path:
    (path,) = (config / "projects").glob("*/*")
    return path


def approved(config: Path) -> list[str]:
    entries: list[str] = json.loads(only_list(config).read_bytes())
    return entries


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_program_is_approved_by_the_digest_of_what_is_started(config: Path, work: Path) -> None:
    approve(str(config), str(work), address(STDIO))
    # As JavaScript writes it: no spaces, in this order.
    text = (
        f'{{"path":"{work}","server":{{"command":"/usr/bin/python3","args":["-SE","/opt/relay.py"],'
        '"env":{"PIPE_PORT":"41002","PIPE_TOKEN":"t"}}}'
    )
    assert approved(config) == [f"ct7k2p-{digest(text)}"]


def test_a_url_is_approved_with_its_headers_and_without(config: Path, work: Path) -> None:
    approve(str(config), str(work), address(HTTP))
    bare = f'{{"path":"{work}","server":{{"url":"{URL}"}}}}'
    whole = f'{{"path":"{work}","server":{{"url":"{URL}","headers":{{"Authorization":"Bearer b"}}}}}}'
    assert approved(config) == [f"ct7k2p-{digest(bare)}", f"ct7k2p-{digest(whole)}"]


@pytest.mark.parametrize("server", SERVERS, ids=["http", "stdio"])
def test_an_agent_takes_what_is_approved(config: Path, work: Path, server: dict[str, Any]) -> None:
    assert not is_approved(config, str(work), server)
    approve(str(config), str(work), address(server))
    assert is_approved(config, str(work), server)


@pytest.mark.parametrize("server", SERVERS, ids=["http", "stdio"])
def test_an_agent_takes_it_in_no_other_directory(
    config: Path, work: Path, tmp_path: Path, server: dict[str, Any]
) -> None:
    approve(str(config), str(work), address(server))
    other = tmp_path / "other"
    other.mkdir()
    assert not is_approved(config, str(other), server)


@pytest.mark.parametrize("directory", ["with a space", "dots.and_under", "Kölner Dom", "--", "😀"])
def test_a_directory_of_any_name_can_be_approved_for(config: Path, tmp_path: Path, directory: str) -> None:
    work = tmp_path / directory
    work.mkdir()
    approve(str(config), str(work), address(STDIO))
    assert is_approved(config, str(work), STDIO)


def test_the_list_is_named_by_the_real_directory(config: Path, work: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(work)
    approve(str(config), str(tmp_path / "link"), address(STDIO))
    assert is_approved(config, str(work), STDIO)
    words = [word for word in str(work).replace("_", "/").replace("-", "/").split("/") if word]
    assert only_list(config) == config / "projects" / "-".join(words) / "mcp-approvals.json"


@pytest.mark.parametrize(
    "other",
    [
        {**STDIO, "name": "ct000"},
        {**STDIO, "command": "/bin/sh"},
        {**STDIO, "args": ["-c", "evil"]},
        {**STDIO, "env": [*STDIO["env"], {"name": "LD_PRELOAD", "value": "x"}]},
        {**STDIO, "env": STDIO["env"][::-1]},
        HTTP,
    ],
)
def test_nothing_else_is_approved_by_it(config: Path, work: Path, other: dict[str, Any]) -> None:
    approve(str(config), str(work), address(STDIO))
    assert not is_approved(config, str(work), other)


def test_an_approval_joins_those_of_other_sessions(config: Path, work: Path) -> None:
    approve(str(config), str(work), address(HTTP))
    approve(str(config), str(work), address(STDIO))
    assert is_approved(config, str(work), HTTP)
    assert is_approved(config, str(work), STDIO)


def test_old_approvals_are_forgotten(config: Path, work: Path) -> None:
    for number in range(MAX_ENTRIES + 1):
        approve(str(config), str(work), address({**STDIO, "args": [str(number)]}))
    assert len(approved(config)) == MAX_ENTRIES
    assert not is_approved(config, str(work), {**STDIO, "args": ["0"]})


def test_a_spoiled_list_is_begun_anew(config: Path, work: Path) -> None:
    approve(str(config), str(work), address(HTTP))
    only_list(config).write_text("{")
    approve(str(config), str(work), address(STDIO))
    assert is_approved(config, str(work), STDIO)


def test_no_secret_is_written_down(config: Path, work: Path) -> None:
    server = {**STDIO, "env": [{"name": "PIPE_TOKEN", "value": "a-very-secret-word"}]}
    approve(str(config), str(work), address(server))
    assert "secret" not in only_list(config).read_text()


def test_only_the_server_itself_may_look_into_the_directory(config: Path, work: Path) -> None:
    approve(str(config), str(work), address(STDIO))
    assert only_list(config).parent.stat().st_mode & 0o077 == 0


def test_a_configuration_that_cannot_be_written_to_is_an_error(work: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        approve(str(tmp_path / "file"), str(work), address(STDIO))
