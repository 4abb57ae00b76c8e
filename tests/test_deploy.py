"""The files in `deploy`: what they name exists, and what can be run of them runs."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from cursorpipe_server.config import FILE_SUFFIX, ServerSettings, load_settings, settings_table
from cursorpipe_server.routes import ROUTES

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
STEPS = DEPLOY / "README.md"
UNIT = DEPLOY / "systemd" / "cursorpipe.service"
ENV_EXAMPLE = DEPLOY / "systemd" / "cursorpipe.env.example"
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
COMPOSE = DEPLOY / "docker" / "compose.yaml"
LITELLM = DEPLOY / "litellm" / "config.yaml"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())

#: The unit's exposure by `systemd-analyze security`, times ten, that must not be exceeded.
MOST_EXPOSURE = 25

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def unit_values(key: str) -> list[str]:
    pairs = (line.partition("=") for line in UNIT.read_text().splitlines() if not line.startswith("#"))
    return [value for name, _, value in pairs if name == key]


def instructions(keyword: str) -> Iterator[str]:
    """The arguments of a Dockerfile's instructions, their lines joined."""
    joined = DOCKERFILE.read_text().replace("\\\n", "")
    for line in joined.splitlines():
        name, _, arguments = line.partition(" ")
        if name == keyword:
            yield arguments


def healthcheck() -> list[str]:
    (check,) = instructions("HEALTHCHECK")
    command: list[str] = json.loads(check.partition("CMD ")[2])
    return command


def litellm_models() -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = yaml.safe_load(LITELLM.read_text())["model_list"]
    return models


@pytest.fixture
def unit_with_a_real_program(tmp_path: Path) -> Path:
    # `verify` wants the program of ExecStart to be there.
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text()))
    return copy


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_variable_is_a_setting(path: Path) -> None:
    known = {name for row in settings_table() for name in row.names}
    named = re.findall(r"\bCURSOR(?:PIPE)?_[A-Z_]+", path.read_text())
    assert {name.removesuffix(FILE_SUFFIX) for name in named} <= known


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_file_that_is_named_exists(path: Path) -> None:
    named = re.findall(r"\bdeploy/[\w./-]+\w", path.read_text())
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_the_example_of_settings_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in settings_table():
        for name in row.names:
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name + FILE_SUFFIX, raising=False)
    assert load_settings(ENV_EXAMPLE).server.host == "127.0.0.1"


def test_the_commented_settings_of_the_example_are_the_defaults() -> None:
    defaults = {name: row.default for row in settings_table() for name in row.names}
    shown = dict(re.findall(r"(?m)^#([A-Z_]+)=(.*)$", ENV_EXAMPLE.read_text()))
    assert shown
    assert shown == {name: defaults[name] for name in shown}


@needs_systemd
def test_systemd_finds_no_fault_in_the_unit(unit_with_a_real_program: Path) -> None:
    assert ANALYZE is not None
    done = subprocess.run(
        [ANALYZE, "verify", unit_with_a_real_program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_the_unit_exposes_little(unit_with_a_real_program: Path) -> None:
    assert ANALYZE is not None
    usage = subprocess.run([ANALYZE, "--help"], capture_output=True, text=True, check=True).stdout
    if "--offline" not in usage:
        pytest.skip("systemd-analyze is too old to judge a file")
    command = [ANALYZE, "security", "--offline=true", f"--threshold={MOST_EXPOSURE}"]
    done = subprocess.run([*command, unit_with_a_real_program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_unit_leaves_the_compiler_of_node_alone() -> None:
    assert unit_values("MemoryDenyWriteExecute") == []


def test_the_unit_starts_the_module() -> None:
    (command,) = unit_values("ExecStart")
    assert command.split()[1:3] == ["-m", "cursorpipe_server"]


def test_a_reload_of_the_unit_reads_the_file_that_the_steps_install() -> None:
    # systemd's own EnvironmentFile would come before the file, with the values of the start.
    (command,) = unit_values("ExecStart")
    assert command.split()[3:] == ["--env-file", "/etc/cursorpipe/cursorpipe.env"]
    assert unit_values("EnvironmentFile") == []
    assert unit_values("ExecReload") == ["/bin/kill -HUP $MAINPID"]
    (user,) = unit_values("User")
    assert f"install -g {user} -m 0640 {ENV_EXAMPLE.relative_to(ROOT)} /etc/cursorpipe/" in STEPS.read_text()


def test_open_requests_can_end_before_the_unit_is_killed() -> None:
    (seconds,) = unit_values("TimeoutStopSec")
    assert float(seconds) > ServerSettings().drain_timeout_s


def test_the_agents_are_stopped_by_the_server_and_not_by_systemd() -> None:
    assert unit_values("KillMode") == ["mixed"]


def test_the_image_copies_only_what_the_tree_has_and_docker_may_see() -> None:
    seen = (DOCKERFILE.parent / f"{DOCKERFILE.name}.dockerignore").read_text().splitlines()
    sources = [
        source
        for arguments in instructions("COPY")
        if not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in seen, source


def test_the_image_gets_what_the_package_is_built_from() -> None:
    copied = " ".join(instructions("COPY")).split()
    packages = {path.parent.name for path in ROOT.glob("cursorpipe_*/__init__.py")}
    assert packages | {"setup.cfg", "pyproject.toml", "README.md", "LICENSE"} <= set(copied)


def test_no_image_that_runs_ends_as_root() -> None:
    stages = [stage.split() for stage in re.split(r"(?m)^FROM ", DOCKERFILE.read_text())[1:]]
    last_user: dict[str, str] = {}
    for parent, _, name, *words in stages:
        users = [after for word, after in pairwise(words) if word == "USER"]
        last_user[name] = users[-1] if users else last_user.get(parent, "root")
    del last_user["build"]
    assert last_user == {"base": "cursorpipe", "with-cli": "cursorpipe", "server": "cursorpipe"}


def test_the_image_asks_a_public_route_for_its_health() -> None:
    paths = re.findall(r"'(/\w+)'", healthcheck()[-1])
    assert paths == ["/health"]
    assert {route.path for route in ROUTES if route.public} >= set(paths)


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
async def test_the_health_check_tells_health_by_the_status(
    aiohttp_server: AiohttpServer, status: int, healthy: bool
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/health", answer)
    server = await aiohttp_server(app)
    # A proxy that is set for the agent must not be asked.
    environment = {"CURSORPIPE_PORT": str(server.port), "http_proxy": "http://127.0.0.1:9"}
    process = await asyncio.create_subprocess_exec(sys.executable, *healthcheck()[1:], env=environment)
    assert (await process.wait() == 0) is healthy


def test_compose_builds_a_target_of_the_dockerfile_from_the_root() -> None:
    build = yaml.safe_load(COMPOSE.read_text())["services"]["cursorpipe"]["build"]
    context = (COMPOSE.parent / build["context"]).resolve()
    assert context == ROOT
    assert context / build["dockerfile"] == DOCKERFILE
    assert any(stage.endswith(f" AS {build['target']}") for stage in instructions("FROM"))


def test_compose_gives_open_requests_time_to_end() -> None:
    service = yaml.safe_load(COMPOSE.read_text())["services"]["cursorpipe"]
    assert float(service["stop_grace_period"].removesuffix("s")) > ServerSettings().drain_timeout_s


def test_compose_publishes_the_port_the_image_listens_on() -> None:
    service = yaml.safe_load(COMPOSE.read_text())["services"]["cursorpipe"]
    (port,) = instructions("EXPOSE")
    assert [published.rpartition(":")[2] for published in service["ports"]] == [port]
    assert f"CURSORPIPE_PORT={port}" in " ".join(instructions("ENV"))


@pytest.mark.parametrize("entry", litellm_models(), ids=lambda entry: str(entry["model_name"]))
def test_litellm_reaches_cursorpipe_as_an_openai_provider(entry: dict[str, Any]) -> None:
    params = entry["litellm_params"]
    assert params["model"].startswith("openai/")
    assert params["api_base"].endswith(":8080/v1")
    assert params["api_key"] == "os.environ/CURSORPIPE_BEARER_TOKEN"


def test_litellm_offers_auto_and_every_name() -> None:
    offered = {entry["model_name"]: entry["litellm_params"]["model"] for entry in litellm_models()}
    assert offered == {"cursor/auto": "openai/auto", "cursor/*": "openai/*"}


def test_litellm_waits_longer_than_cursorpipe() -> None:
    defaults = {name: row.default for row in settings_table() for name in row.names}
    patience = min(entry["litellm_params"]["timeout"] for entry in litellm_models())
    assert patience > float(defaults["CURSORPIPE_REQUEST_TIMEOUT_S"])
