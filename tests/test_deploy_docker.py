"""The image and the composition: what they name exists, and what can be run of them runs."""

from __future__ import annotations

import asyncio
import json
import os
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

from cursorpipe_server.config import ServerSettings
from cursorpipe_server.notify import LEAVE_S
from cursorpipe_server.routes import ROUTES

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
COMPOSE = ROOT / "deploy" / "docker" / "compose.yaml"
LITELLM = ROOT / "deploy" / "docker" / "litellm.yaml"


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


def test_the_image_copies_only_what_the_tree_has_and_docker_may_see() -> None:
    # Not beside the Dockerfile: builders without BuildKit read none there.
    seen = (ROOT / ".dockerignore").read_text().splitlines()
    assert seen[1] == "*"
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
    # What these two leave is copied.
    del last_user["build"], last_user["cli"]
    assert last_user == {"server": "10001", "with-cli": "10001"}


def test_what_has_no_cli_is_built_before_the_cli_is_fetched() -> None:
    # Builders without BuildKit build every stage that comes before the target.
    names = [stage.split(" AS ")[1] for stage in instructions("FROM")]
    assert names == ["build", "server", "cli", "with-cli"]


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


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def replicas() -> list[Any]:
    return [service for name, service in services().items() if name.startswith("cursorpipe-")]


def test_compose_builds_a_target_of_the_dockerfile_from_the_root() -> None:
    assert len(replicas()) == 2
    (build,) = (service["build"] for service in replicas() if "build" in service)
    context = (COMPOSE.parent / build["context"]).resolve()
    assert context == ROOT
    assert context / build["dockerfile"] == DOCKERFILE
    assert any(stage.endswith(f" AS {build['target']}") for stage in instructions("FROM"))


def test_compose_builds_its_image_once_and_looks_for_it_nowhere_else() -> None:
    built, *others = sorted(replicas(), key=lambda service: "build" not in service)
    assert {service["image"] for service in replicas()} == {built["image"]}
    for service in others:
        assert (service["pull_policy"], service["depends_on"]) == ("never", ["cursorpipe-1"])


def test_compose_gives_open_requests_time_to_end() -> None:
    for service in replicas():
        grace = float(service["stop_grace_period"].removesuffix("s"))
        assert grace > ServerSettings().drain_timeout_s + LEAVE_S


def test_a_read_only_root_has_room_for_what_is_written() -> None:
    (state,) = re.findall(r"CURSORPIPE_STATE_DIR=(\S+)", " ".join(instructions("ENV")))
    for service in replicas():
        assert service["read_only"] is True
        places = [Path(mount.partition(":")[0]) for mount in service["tmpfs"]]
        assert any(Path(state).is_relative_to(place) for place in places)
        # The records and the CLI must be writable for the user of the image.
        (user, *_) = re.findall(r"useradd --uid (\d+)", DOCKERFILE.read_text())
        assert all(f"uid={user}" in mount or mount == "/tmp:mode=1777" for mount in service["tmpfs"])


def test_compose_has_litellm_know_every_replica() -> None:
    (port,) = instructions("EXPOSE")
    bases = {
        entry["litellm_params"]["api_base"] for entry in yaml.safe_load(LITELLM.read_text())["model_list"]
    }
    assert bases == {f"http://{name}:{port}/v1" for name in services() if name.startswith("cursorpipe-")}
    assert "./litellm.yaml:/etc/litellm/config.yaml:ro" in services()["litellm"]["volumes"]


def test_compose_publishes_nothing_beyond_this_machine() -> None:
    for service in services().values():
        assert all(published.startswith("127.0.0.1:") for published in service.get("ports", []))


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
def test_compose_accepts_the_file() -> None:
    environ = {"PATH": os.environ["PATH"], "CURSOR_API_KEY": "key", "CURSORPIPE_BEARER_TOKEN": "token"}
    done = subprocess.run(
        ["docker-compose", "-f", COMPOSE, "config", "--quiet"],
        env={**environ, "LITELLM_MASTER_KEY": "sk-key"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_hadolint_finds_no_fault_in_the_image() -> None:
    done = subprocess.run(["hadolint", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_prometheus_asks_every_server_of_the_compose_file_and_may() -> None:
    compose = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    scraped = yaml.safe_load((COMPOSE.parent / "prometheus.yaml").read_text(encoding="utf-8"))
    (job,) = scraped["scrape_configs"]
    (targets,) = (config["targets"] for config in job["static_configs"])
    servers = {name for name in compose["services"] if name.startswith("cursorpipe-")}
    assert {target.partition(":")[0] for target in targets} == servers
    for name in servers:
        assert compose["services"][name]["environment"]["CURSORPIPE_METRICS_AUTH"] == "open"
    for volume in compose["services"]["prometheus"]["volumes"]:
        source = volume.partition(":")[0]
        assert not source.startswith(".") or (COMPOSE.parent / source).is_file()
