"""Three servers with something real in front of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.contract.clients.environments import Environments, programs_of
from tests.integration.program import Start
from tests.integration.scale_out.fleet import TOKEN, Fleet, Member, free_ports
from tests.integration.scale_out.load import Front

DEPLOY = Path(__file__).parents[3] / "deploy"
#: The ports that the files of `deploy` give to the servers.
WRITTEN_PORTS = (8081, 8082, 8083)
MASTER_KEY = "sk-choose-one"

#: Seconds that LiteLLM may need to start on a busy machine.
START_S = 120.0


@pytest.fixture
async def fleet(request: pytest.FixtureRequest, start: Start, http: aiohttp.ClientSession) -> Fleet:
    if not request.config.getoption("--scale-out"):
        pytest.skip("not asked for: --scale-out starts three servers and a LiteLLM or HAProxy in front")
    members = [Member(start, http, port) for port in free_ports(len(WRITTEN_PORTS))]
    await asyncio.gather(*(member.begin() for member in members))
    return members


@asynccontextmanager
async def _running(
    log: Path, command: Sequence[str | Path], environ: Mapping[str, str], healthy_at: str
) -> AsyncIterator[None]:
    """Run what stands in front of the servers, from when it is healthy."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env={"PATH": os.environ["PATH"], "HOME": str(log.parent), **environ},
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(START_S), aiohttp.ClientSession() as http:
            while not await _is_healthy(http, healthy_at):
                assert process.returncode is None, log.read_text(errors="replace")[-3000:]
                await asyncio.sleep(0.1)
        yield
    except BaseException:
        print(log.read_text(errors="replace")[-3000:])
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _is_healthy(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def placed(path: Path, fleet: Fleet, directory: Path) -> tuple[Path, str]:
    """Write a file of `deploy` for the ports of the servers, and return it with the text it had."""
    text = path.read_text()
    for written, member in zip(WRITTEN_PORTS, fleet, strict=True):
        assert f"127.0.0.1:{written}" in text
        text = text.replace(f"127.0.0.1:{written}", f"127.0.0.1:{member.port}")
    copy = directory / path.name
    copy.write_text(text)
    return copy, text


@asynccontextmanager
async def haproxy_over(fleet: Fleet, directory: Path) -> AsyncIterator[Front]:
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        pytest.fail("haproxy is needed for the tests that were asked for")
    (port,) = free_ports(1)
    copy, text = placed(DEPLOY / "haproxy" / "haproxy.cfg", fleet, directory)
    assert "127.0.0.1:8080" in text
    copy.write_text(text.replace("127.0.0.1:8080", f"127.0.0.1:{port}"))
    url = f"http://127.0.0.1:{port}"
    async with _running(directory / "haproxy.log", [program, "-db", "-f", copy], {}, f"{url}/ready"):
        yield Front(url, TOKEN, "auto")


@asynccontextmanager
async def litellm_over(fleet: Fleet, directory: Path, environments: Environments) -> AsyncIterator[Front]:
    # In a thread: it may be installed now.
    environment = await asyncio.to_thread(environments.make, "litellm")
    (port,) = free_ports(1)
    copy, _ = placed(DEPLOY / "litellm" / "config.yaml", fleet, directory)
    url = f"http://127.0.0.1:{port}"
    environ = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MASTER_KEY": MASTER_KEY,
        "CURSORPIPE_BEARER_TOKEN": TOKEN,
    }
    command: list[str | Path] = [programs_of(environment) / "litellm", "--config", copy]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    async with _running(directory / "litellm.log", command, environ, f"{url}/health/liveliness"):
        yield Front(url, MASTER_KEY, "cursor/auto")


@pytest.fixture
def environments(request: pytest.FixtureRequest, tmp_path: Path) -> Environments:
    kept = request.config.getoption("--real-clients-dir")
    return Environments(Path(kept).resolve() if kept else tmp_path / "clients")


@pytest.fixture
async def litellm(fleet: Fleet, tmp_path: Path, environments: Environments) -> AsyncIterator[Front]:
    async with litellm_over(fleet, tmp_path, environments) as front:
        yield front


@pytest.fixture
async def haproxy(fleet: Fleet, tmp_path: Path) -> AsyncIterator[Front]:
    async with haproxy_over(fleet, tmp_path) as front:
        yield front


@pytest.fixture(params=["haproxy", "litellm"])
async def front(
    request: pytest.FixtureRequest, fleet: Fleet, tmp_path: Path, environments: Environments
) -> AsyncIterator[Front]:
    """Each of the two in turn."""
    over = haproxy_over(fleet, tmp_path)
    if request.param == "litellm":
        over = litellm_over(fleet, tmp_path, environments)
    async with over as front:
        yield front
