"""Places made ahead: whose they are, what they were made with, and what becomes of them."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cursorpipe_core.config import AgentSettings
from cursorpipe_core.errors import AgentCrashError
from cursorpipe_core.instance import Instance
from cursorpipe_core.orphans import MARK
from cursorpipe_core.places import Places
from tests.waiting import until

KEYED = AgentSettings(api_key="key")


@pytest.fixture
async def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Instance]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with Instance(str(tmp_path / "state")) as instance:
        yield instance


@pytest.fixture
def there(tmp_path: Path, instance: Instance) -> Callable[[], list[Path]]:
    """Return what tells the directories that there are at the moment."""
    (places,) = tmp_path.glob("cursorpipe-*")
    return lambda: list(places.iterdir())


async def test_a_place_is_never_given_out_twice(instance: Instance) -> None:
    async with Places(KEYED, instance) as places:
        given = []
        for _ in range(3):
            place = places.take()
            places.prepare()
            places.prepare()
            given.append(place)
            places.leave(place)
        given += [places.take(), places.take()]
        assert len({place.own for place in given}) == 5
        assert len({place.env[MARK] for place in given}) == 5
        for place in given[-2:]:
            places.leave(place)


async def test_what_is_made_ahead_is_private_empty_and_given_to_the_next(
    instance: Instance, there: Callable[[], list[Path]]
) -> None:
    async with Places(KEYED, instance) as places:
        places.prepare()
        (ready,) = there()
        place = places.take()
        assert place.own == str(ready)
        for directory in (place.own, place.cwd, place.env["CURSOR_CONFIG_DIR"]):
            assert Path(directory).stat().st_mode & 0o777 == 0o700
        assert list(Path(place.cwd).iterdir()) == []
        places.leave(place)


async def test_other_settings_are_not_answered_with_a_place_of_the_old_ones(
    instance: Instance, there: Callable[[], list[Path]], tmp_path: Path
) -> None:
    async with Places(KEYED, instance) as places:
        places.prepare()
        (old,) = there()
        places.adopt(AgentSettings(auth_token="token", workspace=str(tmp_path)))
        place = places.take()
        assert place.own != str(old)
        assert place.cwd == str(tmp_path)
        assert place.env["CURSOR_AUTH_TOKEN"] == "token"
        assert "CURSOR_API_KEY" not in place.env
        await until(lambda: there() == [Path(place.own)])
        places.leave(place)


async def test_a_place_that_was_swept_away_in_the_meantime_is_not_given_out(
    instance: Instance, there: Callable[[], list[Path]]
) -> None:
    async with Places(KEYED, instance) as places:
        places.prepare()
        (swept,) = there()
        shutil.rmtree(swept / "work")
        place = places.take()
        assert place.own != str(swept)
        assert Path(place.cwd).is_dir()
        places.leave(place)


async def test_a_left_place_is_removed_a_moment_later_with_what_is_in_it(
    instance: Instance, there: Callable[[], list[Path]]
) -> None:
    async with Places(KEYED, instance) as places:
        left = [places.take() for _ in range(3)]
        (Path(left[0].cwd) / "note").touch()
        (Path(left[1].own) / "image").touch()
        for place in left:
            places.leave(place)
        await until(lambda: not there())


async def test_leaving_removes_what_was_left_just_now_and_what_is_in_stock(
    instance: Instance, there: Callable[[], list[Path]]
) -> None:
    async with Places(KEYED, instance) as places:
        place = places.take()
        places.prepare()
        places.leave(place)
        assert len(there()) == 2
    assert there() == []


async def test_a_workspace_is_used_and_stays(instance: Instance, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    async with Places(AgentSettings(workspace=str(workspace)), instance) as places:
        place = places.take()
        assert place.cwd == str(workspace)
        places.leave(place)
    assert workspace.exists()


async def test_a_full_disk_is_told_to_who_wants_a_place_and_not_before(
    instance: Instance, there: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, mode: int = 0o777) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    async with Places(KEYED, instance) as places:
        with monkeypatch.context() as full:
            full.setattr(os, "mkdir", refuse)
            places.prepare()
            with pytest.raises(AgentCrashError, match="No space left on device"):
                places.take()
        assert there() == []
        places.leave(places.take())
