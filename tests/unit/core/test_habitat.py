"""The place of an agent, where the disk gives none or only half of one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cursorpipe_core.config import AgentSettings
from cursorpipe_core.errors import AgentCrashError
from cursorpipe_core.habitat import habitat
from cursorpipe_core.instance import Instance


@pytest.mark.parametrize("refused", ["1", "work"])
async def test_a_disk_that_gives_out_is_a_typed_error_and_leaves_nothing_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    make = os.mkdir

    def mkdir(path: str, mode: int = 0o777) -> None:
        if Path(path).name == refused:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        make(path, mode)

    async with Instance(str(tmp_path / "state")) as instance:
        monkeypatch.setattr(os, "mkdir", mkdir)
        with pytest.raises(AgentCrashError, match="No space left on device"):
            async with habitat(AgentSettings(api_key="key"), instance):
                pass
        (places,) = tmp_path.glob("cursorpipe-*")
        assert list(places.iterdir()) == []


async def test_a_place_is_private_and_gone_when_it_is_left(tmp_path: Path) -> None:
    async with Instance(str(tmp_path)) as instance:
        async with habitat(AgentSettings(api_key="key"), instance) as place:
            own = Path(place.own)
            assert own.stat().st_mode & 0o777 == 0o700
            assert list(Path(place.cwd).iterdir()) == []
            assert Path(place.env["CURSOR_CONFIG_DIR"]).is_dir()
        assert not own.exists()
