"""The program against its own document: whatever schemathesis thinks of, and every check it has."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.contract.conftest import TOKEN
from tests.integration.program import Program

ROOT = Path(__file__).parents[2]
HOOKS = "tests.contract.schemathesis_hooks"

pytestmark = [
    pytest.mark.schemathesis,
    pytest.mark.skipif(
        importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed"
    ),
]


@pytest.fixture
async def serve_demo(tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Start the program with its demo agent; returns its URL."""
    async with AsyncExitStack() as stack:

        async def start() -> str:
            inherited = {name: value for name, value in os.environ.items() if not name.startswith("CURSOR")}
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cursorpipe_server", "--demo", "--port", "0"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={
                    **inherited,
                    "PYTHONPATH": str(ROOT),
                    "CURSORPIPE_HOST": "127.0.0.1",
                    "CURSORPIPE_STATE_DIR": str(tmp_path / "servers"),
                    "CURSORPIPE_BEARER_TOKEN": TOKEN,
                    "CURSORPIPE_WORKERS": "2",
                },
                cwd=tmp_path,
            )
            program = Program(process)
            stack.push_async_callback(program.end)
            return await program.url()

        yield start


async def schemathesis(url: str, directory: Path, *, examples: str, seed: str) -> tuple[int | None, str]:
    """Run all its checks against a server; returns its exit status and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("st")), "run", f"{url}/openapi.json"),
        *("--header", f"Authorization: Bearer {TOKEN}"),
        *("--checks", "all", "--continue-on-failure", "--generation-database", "none", "--no-color"),
        *("--max-examples", examples, "--seed", seed),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": HOOKS},
        cwd=directory,
    )
    try:
        printed, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return process.returncode, printed.decode()


@pytest.mark.timeout(3600)
async def test_no_answer_is_outside_the_document(
    serve_demo: Callable[[], Awaitable[str]], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    status, printed = await schemathesis(
        await serve_demo(),
        tmp_path,
        examples=pytestconfig.getoption("--schemathesis-examples"),
        seed=pytestconfig.getoption("--schemathesis-seed"),
    )
    print(printed)
    assert status == 0, printed
    assert re.search(r"^  Tested: 8$", printed, re.MULTILINE)
