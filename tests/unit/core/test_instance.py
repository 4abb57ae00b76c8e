"""The record of the processes that an instance has started."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from cursorpipe_core import instance as instance_module
from cursorpipe_core.instance import Instance
from cursorpipe_core.orphans import start_time
from cursorpipe_core.records import recorded
from tests.waiting import until


@pytest.fixture
async def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Instance]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with Instance(str(tmp_path / "state")) as instance:
        yield instance


@pytest.fixture
def on_record(tmp_path: Path, instance: Instance) -> Callable[[], list[str]]:
    """Return what tells the records that there are at the moment."""
    (processes,) = (tmp_path / "state").glob("*/processes")
    return lambda: recorded(processes)


def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process
        process.kill()


sleeper = pytest.fixture(sleeping, name="sleeper")
following = pytest.fixture(sleeping, name="following")


async def test_a_process_is_on_record_until_it_has_ended(
    instance: Instance, on_record: Callable[[], list[str]], sleeper: subprocess.Popen[bytes]
) -> None:
    _, mark = instance.name_place()
    instance.record(mark, sleeper.pid)
    await until(lambda: on_record() == [f"{sleeper.pid} {start_time(sleeper.pid)}"])
    instance.agent_ended(mark)
    assert on_record() == []


async def test_a_process_that_ends_at_once_is_never_put_on_record(
    instance: Instance,
    on_record: Callable[[], list[str]],
    sleeper: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(instance_module, "RECORD_AFTER_S", 0)
    _, mark = instance.name_place()
    instance.record(mark, sleeper.pid)
    instance.agent_ended(mark)
    _, last = instance.name_place()
    instance.record(last, sleeper.pid)
    await until(lambda: len(on_record()) == 1)
    instance.agent_ended(last)
    assert on_record() == []


async def test_of_the_processes_of_one_place_the_last_is_on_record(
    instance: Instance,
    on_record: Callable[[], list[str]],
    sleeper: subprocess.Popen[bytes],
    following: subprocess.Popen[bytes],
) -> None:
    _, mark = instance.name_place()
    instance.record(mark, sleeper.pid)
    await until(lambda: len(on_record()) == 1)
    instance.record(mark, sleeper.pid)
    instance.record(mark, following.pid)
    assert on_record() == []
    await until(lambda: on_record() == [f"{following.pid} {start_time(following.pid)}"])
    instance.agent_ended(mark)
    assert on_record() == []


async def test_a_process_that_is_no_child_of_ours_is_not_put_on_record(
    instance: Instance, on_record: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance_module, "RECORD_AFTER_S", 0)
    _, mark = instance.name_place()
    instance.record(mark, os.getppid())  # as if the id of a reaped child had been given to somebody
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(0, passed.set)
    await passed.wait()
    assert on_record() == []
    instance.agent_ended(mark)


async def test_a_full_disk_costs_the_record_and_no_more(
    instance: Instance,
    on_record: Callable[[], list[str]],
    sleeper: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(_descriptor: int, _data: bytes, _offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(instance_module, "RECORD_AFTER_S", 0)
    _, mark = instance.name_place()
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", refuse)
        instance.record(mark, sleeper.pid)
        await until(lambda: "No space left on device" in caplog.text)
    instance.agent_ended(mark)
    assert on_record() == []
