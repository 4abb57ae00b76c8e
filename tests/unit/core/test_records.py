"""Records that outlive who wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cursorpipe_core.records import Records, recorded


def test_what_is_written_down_is_there_until_it_is_struck_out(tmp_path: Path) -> None:
    path = tmp_path / "records"
    with Records(path) as records:
        first, second = records.add("1 a"), records.add("2 b")
        assert recorded(path) == ["1 a", "2 b"]
        records.remove(first)
        assert recorded(path) == ["2 b"]
        records.remove(second)
        assert recorded(path) == []


def test_what_is_struck_out_makes_room(tmp_path: Path) -> None:
    path = tmp_path / "records"
    with Records(path) as records:
        kept = records.add("kept")
        for number in range(100):
            records.remove(records.add(f"record {number}"))
        size = path.stat().st_size
        records.add("last")
        assert path.stat().st_size == size
        assert recorded(path) == ["kept", "last"]
        records.remove(kept)
    assert recorded(path) == ["last"]


def test_who_comes_after_the_end_writes_nowhere(tmp_path: Path) -> None:
    with Records(tmp_path / "records") as records:
        record = records.add("1 a")
    with (tmp_path / "another").open("w+b") as another:  # it may get the same descriptor
        records.remove(record)
        with pytest.raises(OSError, match="Bad file descriptor"):
            records.add("2 b")
        assert another.read() == b""


def test_a_record_that_a_full_disk_refuses_is_not_half_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int, _data: bytes, _offset: int) -> int:
        raise OSError("full")

    path = tmp_path / "records"
    with Records(path) as records:
        with monkeypatch.context() as full:
            full.setattr("os.pwrite", refuse)
            with pytest.raises(OSError, match="full"):
                records.add("1 a")
        records.add("2 b")
        assert recorded(path) == ["2 b"]


def test_where_nothing_was_ever_written_nothing_is_on_record(tmp_path: Path) -> None:
    assert recorded(tmp_path / "none") == []
