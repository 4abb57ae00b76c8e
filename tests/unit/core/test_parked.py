from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator

import pytest

from cursorpipe_core.errors import QueueFullError
from cursorpipe_core.parked import RETRY_AFTER_S, ParkedTurns
from tests.waiting import until

MOST = 12
MOST_PER_OWNER = 5


class Waiting:
    """A turn that waits; ``on_dead`` is whatever it was told to call."""

    handed_out: Collection[str] = ("call_1",)

    def __init__(self, key: str) -> None:
        self.key = key
        self.on_dead: Callable[[], None] = lambda: None


@pytest.fixture
def ended() -> list[Waiting]:
    return []


@pytest.fixture
async def parked(ended: list[Waiting]) -> ParkedTurns[Waiting]:
    return ParkedTurns(ended.append, timeout_s=60, most=MOST, most_per_owner=MOST_PER_OWNER)


@pytest.fixture(autouse=True)
def emptied(parked: ParkedTurns[Waiting]) -> Iterator[None]:
    yield
    parked.close()
    assert len(parked) == 0


async def test_a_turn_is_kept_until_it_is_taken(parked: ParkedTurns[Waiting], ended: list[Waiting]) -> None:
    turn = Waiting("a")
    parked.park(turn, "me")
    assert len(parked) == 1
    assert parked.take("a", "me") is turn
    assert len(parked) == 0
    assert not ended


async def test_a_turn_is_taken_once(parked: ParkedTurns[Waiting]) -> None:
    parked.park(Waiting("a"), "me")
    parked.take("a", "me")
    assert parked.take("a", "me") is None


async def test_looking_at_a_turn_does_not_take_it(parked: ParkedTurns[Waiting]) -> None:
    turn = Waiting("a")
    parked.park(turn, "me")
    assert parked.find("a", "me") is turn
    assert parked.take("a", "me") is turn


async def test_nobody_else_finds_a_turn(parked: ParkedTurns[Waiting], ended: list[Waiting]) -> None:
    turn = Waiting("a")
    parked.park(turn, "me")
    assert parked.find("a", "you") is None
    assert parked.take("a", "you") is None
    assert parked.take("a", "me") is turn
    assert not ended


async def test_there_is_no_turn_of_another_key(parked: ParkedTurns[Waiting]) -> None:
    parked.park(Waiting("a"), "me")
    assert (parked.find("b", "me"), parked.take("b", "me")) == (None, None)


async def test_a_turn_that_nobody_fetches_is_ended_in_time(
    ended: list[Waiting], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    parked: ParkedTurns[Waiting] = ParkedTurns(
        ended.append, timeout_s=0.01, most=MOST, most_per_owner=MOST_PER_OWNER
    )
    turn = Waiting("a")
    parked.park(turn, "me")
    await until(lambda: ended)
    assert ended == [turn]
    assert (len(parked), parked.counts.expired, parked.counts.died) == (0, 1, 0)
    assert parked.take("a", "me") is None
    assert "is ended" in caplog.text


async def test_a_turn_that_was_taken_has_time_without_end(ended: list[Waiting]) -> None:
    parked: ParkedTurns[Waiting] = ParkedTurns(
        ended.append, timeout_s=0.01, most=MOST, most_per_owner=MOST_PER_OWNER
    )
    parked.park(Waiting("a"), "me")
    parked.take("a", "me")
    other = Waiting("b")
    parked.park(other, "me")
    await until(lambda: ended)
    assert ended == [other]


async def test_a_turn_that_waits_again_has_its_whole_time_again(parked: ParkedTurns[Waiting]) -> None:
    turn = Waiting("a")
    parked.park(turn, "me")
    first = parked._entries["a"].timer
    parked.take("a", "me")
    again_at = asyncio.get_running_loop().time()
    parked.park(turn, "me")
    assert first.cancelled()
    assert parked._entries["a"].timer.when() >= again_at + parked.timeout_s


async def test_a_turn_whose_agent_stops_waiting_is_ended(
    parked: ParkedTurns[Waiting], ended: list[Waiting]
) -> None:
    turn = Waiting("a")
    parked.park(turn, "me")
    turn.on_dead()
    assert ended == [turn]
    assert (len(parked), parked.counts.died, parked.counts.expired) == (0, 1, 0)


@pytest.mark.parametrize("how", ["taken", "dropped", "dead", "closed"])
async def test_a_death_after_the_end_is_no_news(
    parked: ParkedTurns[Waiting], ended: list[Waiting], how: str
) -> None:
    turn = Waiting("a")
    parked.park(turn, "me")
    {
        "taken": lambda: parked.take("a", "me"),
        "dropped": lambda: parked.drop("a"),
        "dead": turn.on_dead,
        "closed": parked.close,
    }[how]()
    before = (list(ended), parked.counts.died)
    turn.on_dead()
    assert (ended, parked.counts.died) == before


async def test_a_turn_that_is_dropped_is_ended(parked: ParkedTurns[Waiting], ended: list[Waiting]) -> None:
    turn = Waiting("a")
    parked.park(turn, "me")
    parked.drop("a")
    assert ended == [turn]
    assert len(parked) == 0


async def test_closing_ends_every_turn(parked: ParkedTurns[Waiting], ended: list[Waiting]) -> None:
    turns = [Waiting("a"), Waiting("b")]
    parked.park(turns[0], "me")
    parked.park(turns[1], "you")
    parked.close()
    parked.close()
    assert ended == turns


async def test_the_turn_is_kept_no_more_when_it_is_ended() -> None:
    """Ending one may look for it again."""
    found: list[Waiting | None] = []

    def end(turn: Waiting) -> None:
        found.append(kept.find(turn.key, "me"))

    kept = ParkedTurns(end, timeout_s=60, most=MOST, most_per_owner=MOST_PER_OWNER)
    kept.park(Waiting("a"), "me")
    kept.drop("a")
    assert found == [None]


def fill(parked: ParkedTurns[Waiting], owner: str, count: int) -> None:
    for number in range(count):
        parked.park(Waiting(f"{owner} {number}"), owner)


async def test_one_owner_has_room_for_so_many(parked: ParkedTurns[Waiting]) -> None:
    fill(parked, "me", MOST_PER_OWNER - 1)
    parked.check_room("me")
    fill(parked, "me too", 1)
    parked.park(Waiting("last"), "me")
    with pytest.raises(QueueFullError) as raised:
        parked.check_room("me")
    assert raised.value.retry_after == RETRY_AFTER_S
    parked.check_room("you")
    assert parked.counts.refused == 1


async def test_all_owners_have_room_for_so_many(parked: ParkedTurns[Waiting]) -> None:
    for owner in range(MOST - 1):
        fill(parked, str(owner), 1)
    parked.check_room("you")
    fill(parked, "one more", 1)
    with pytest.raises(QueueFullError):
        parked.check_room("you")


@pytest.mark.parametrize("how", ["taken", "dropped", "dead"])
async def test_room_comes_back_with_each_turn_that_goes(parked: ParkedTurns[Waiting], how: str) -> None:
    turn = Waiting("a")
    parked.park(turn, "me")
    fill(parked, "me", MOST_PER_OWNER - 1)
    with pytest.raises(QueueFullError):
        parked.check_room("me")
    {"taken": lambda: parked.take("a", "me"), "dropped": lambda: parked.drop("a"), "dead": turn.on_dead}[
        how
    ]()
    parked.check_room("me")


async def test_an_owner_is_forgotten_with_the_last_turn(parked: ParkedTurns[Waiting]) -> None:
    parked.park(Waiting("a"), "me")
    parked.take("a", "me")
    parked.check_room("you")
    assert not parked._owners


async def test_the_operator_is_told_how_turns_fared(parked: ParkedTurns[Waiting]) -> None:
    turns = [Waiting("a"), Waiting("b"), Waiting("c")]
    for turn in turns:
        parked.park(turn, "me")
    parked.take("a", "me")
    turns[1].on_dead()
    parked.drop("c")
    counts = parked.counts
    assert (counts.parked, counts.resumed, counts.died, counts.expired, counts.refused) == (3, 1, 1, 0, 0)


async def test_the_owners_oldest_turn_to_spare_makes_room(
    parked: ParkedTurns[Waiting], ended: list[Waiting]
) -> None:
    turns = {name: Waiting(name) for name in ("bobs", "needed", "older", "newer")}
    parked.park(turns["bobs"], "bob", spare=True)
    parked.park(turns["needed"], "ann")
    parked.park(turns["older"], "ann", spare=True)
    parked.park(turns["newer"], "ann", spare=True)
    fill(parked, "ann", MOST_PER_OWNER - 3)
    parked.check_room("ann")
    assert ended == [turns["older"]]
    assert parked.counts.refused == 0
