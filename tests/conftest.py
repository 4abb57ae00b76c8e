"""What every test is held to: it leaves no task and no child process behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import psutil
import pytest
import uvloop

#: Seconds a child may need to be gone after the test that ended it.
GONE_WITHIN_S = 5.0


@pytest.fixture(autouse=True)
async def nothing_left_behind() -> AsyncIterator[None]:
    tasks_before = asyncio.all_tasks()
    children_before = set(psutil.Process().children(recursive=True))
    yield
    tasks = [task for task in asyncio.all_tasks() - tasks_before if task is not asyncio.current_task()]
    assert not [task for task in tasks if not task.done()]
    children = set(psutil.Process().children(recursive=True)) - children_before
    _, alive = psutil.wait_procs(children, timeout=GONE_WITHIN_S)
    assert not alive


def pytest_configure() -> None:
    # Where the tests are run by `nohup`, the programs under test would inherit its deafness to SIGHUP.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(config: pytest.Config) -> Mapping[str, Callable[[], Any]]:
    """Run the tests in the loop that servers run in, where that is asked for."""
    if config.getoption("--uvloop"):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--uvloop", action="store_true", help="run the tests in uvloop's event loop")
    parser.addoption("--chaos-seconds", default="15", help="how long the chaos lasts")
    parser.addoption("--chaos-seed", default="1", help="what the chaos is drawn from")
    parser.addoption("--leak-requests", default="300", help="how many requests are looked at for leaks")
    parser.addoption("--schemathesis-examples", default="20", help="random requests to each operation")
    parser.addoption("--schemathesis-seed", default="1", help="what the random requests are drawn from")
    parser.addoption(
        "--real-clients",
        action="store_true",
        default=bool(os.environ.get("CURSORPIPE_REAL_CLIENTS")),
        help="try clients of other people; installs them from the registries",
    )
    parser.addoption(
        "--real-clients-dir",
        default=os.environ.get("CURSORPIPE_REAL_CLIENTS_DIR", ""),
        help="where they are installed, and found again by the next run",
    )
    parser.addoption(
        "--scale-out",
        action="store_true",
        default=bool(os.environ.get("CURSORPIPE_SCALE_OUT")),
        help="try three servers behind LiteLLM (of --real-clients-dir) and behind HAProxy",
    )
    parser.addoption("--open-webui", action="store_true", help="with --real-clients, also this one: 7 GB")
