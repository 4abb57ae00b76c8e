"""Which way to an agent's tools is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from cursorpipe_core.channels import CACHE, MAX_REMEMBERED, Channels
from cursorpipe_core.errors import ToolsUnavailableError


def channels(*, mine: bool = True) -> Channels:
    return Channels(may_approve=mine, may_write=mine)


def test_the_ways_are_tried_from_the_plainest_on() -> None:
    ways = [str(way) for way in channels().ways()]
    assert ways == ["http", "http, approved", "stdio", "stdio, approved", "http, by file"]


def test_nothing_is_written_where_others_are_at_home() -> None:
    assert [str(way) for way in channels(mine=False).ways()] == ["http", "stdio"]
    workspace = Channels(may_approve=True, may_write=False)
    assert "http, by file" not in [str(way) for way in workspace.ways()]


def test_a_way_that_fails_makes_room_for_the_next_until_none_is_left() -> None:
    known = channels(mine=False)
    known.fail(known.current)
    assert str(known.current) == "stdio"
    known.fail(known.current)
    assert known.exhausted
    with pytest.raises(ToolsUnavailableError, match="http; stdio"):
        _ = known.current


def test_an_old_failure_says_nothing_of_the_way_taken_now() -> None:
    known = channels()
    first = known.current
    known.fail(first)
    known.fail(first)
    assert str(known.current) == "http, approved"


def test_what_was_proven_is_remembered_for_the_build_alone(tmp_path: Path) -> None:
    known = channels()
    known.load(tmp_path, "2026.09.01")
    assert not known.proven
    known.prove(known.ways()[2])
    again = channels()
    again.load(tmp_path, "2026.09.01")
    assert again.proven
    assert str(again.current) == "stdio"
    other = channels()
    other.load(tmp_path, "2026.10.01")
    assert not other.proven


def test_a_proven_way_that_fails_later_is_left(tmp_path: Path) -> None:
    known = channels()
    known.load(tmp_path, "1")
    known.prove(known.current)
    known.fail(known.current)
    assert not known.proven
    assert str(known.current) == "http, approved"


def test_what_this_server_may_not_do_is_not_taken_from_memory(tmp_path: Path) -> None:
    known = channels()
    known.load(tmp_path, "1")
    known.prove(known.ways()[1])
    careful = channels(mine=False)
    careful.load(tmp_path, "1")
    assert not careful.proven


def test_only_the_latest_builds_are_remembered(tmp_path: Path) -> None:
    for number in range(MAX_REMEMBERED + 3):
        known = channels()
        known.load(tmp_path, str(number))
        known.prove(known.current)
    oldest, newest = channels(), channels()
    oldest.load(tmp_path, "0")
    newest.load(tmp_path, str(MAX_REMEMBERED + 2))
    assert (oldest.proven, newest.proven) == (False, True)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"1": "teleport"}', '{"1": 7}'])
def test_a_spoiled_memory_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / CACHE).write_text(content)
    known = channels()
    known.load(tmp_path, "1")
    assert not known.proven


def test_a_memory_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    known = channels()
    known.load(tmp_path / "missing", "1")
    known.prove(known.current)
    assert known.proven
