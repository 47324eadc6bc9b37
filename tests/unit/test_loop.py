"""A loop goes on whatever happens in a turn, rests when there is nothing to do, and stops when it is told to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app import loop
from app.loop import Loop


class Turns:
    """What each turn gives, or raises; after the last, nothing is left to do."""

    def __init__(self, *results: bool | Exception) -> None:
        self.times: list[float] = []
        self._results = list(results)

    async def __call__(self) -> bool:
        self.times.append(time.monotonic())
        result = self._results.pop(0) if self._results else False
        if isinstance(result, Exception):
            raise result
        return result

    async def reach(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.times) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.001)


@asynccontextmanager
async def running(turns: Turns, rest: float = 60) -> AsyncIterator[Loop]:
    made = Loop("test", turns, rest)
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        made.stop()
        await asyncio.wait_for(task, 5)


async def test_while_there_is_more_to_do_it_does_not_rest() -> None:
    turns = Turns(*[True] * 100)
    async with running(turns):
        await turns.reach(101)
        await asyncio.sleep(0.05)
    assert len(turns.times) == 101


async def test_it_is_woken_from_its_rest_but_not_a_thousand_times_a_second() -> None:
    turns = Turns()
    async with running(turns) as made:
        await turns.reach(1)
        begun = time.monotonic()
        while time.monotonic() < begun + 0.3:
            made.ring()
            await asyncio.sleep(0.0005)
    assert 1 < len(turns.times) <= 1 + 0.3 / loop.SHORTEST_REST + 2


async def test_a_ring_during_a_turn_is_not_lost() -> None:
    entered, leave = asyncio.Event(), asyncio.Event()
    turns = Turns()

    async def turn() -> bool:
        entered.set()
        await leave.wait()
        return await turns()

    made = Loop("test", turn, 60)
    task = asyncio.create_task(made.run())
    await entered.wait()
    made.ring()
    leave.set()
    await turns.reach(2)
    made.stop()
    await asyncio.wait_for(task, 5)


async def test_failures_are_followed_by_longer_and_longer_pauses_that_no_ringing_shortens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(loop, "LONGEST_PAUSE", 0.2)
    turns = Turns(ValueError(), ValueError(), ValueError(), ValueError(), True, ValueError())
    async with running(turns) as made:
        while len(turns.times) < 7:
            made.ring()
            await asyncio.sleep(0.001)
    pauses = [later - earlier for earlier, later in zip(turns.times, turns.times[1:], strict=False)]
    assert all(pause >= least for pause, least in zip(pauses, (0.05, 0.1, 0.2, 0.2, 0, 0.05), strict=True))
    assert pauses[3] < 0.4 + 1
    assert pauses[5] < 0.2 + 1


async def test_what_takes_long_to_find_nothing_is_done_less_often() -> None:
    async def turn() -> bool:
        await asyncio.sleep(0.05)
        return await turns()

    turns = Turns()
    made = Loop("test", turn, 0.001)
    task = asyncio.create_task(made.run())
    await turns.reach(3)
    made.stop()
    await asyncio.wait_for(task, 5)
    assert turns.times[2] - turns.times[0] >= 2 * 0.05 * (1 + loop.REST_FOR_WORK) * 0.9


async def test_it_stops_at_once_in_a_rest_and_in_a_pause() -> None:
    for turns in (Turns(), Turns(ValueError(), ValueError(), ValueError(), ValueError(), ValueError(), ValueError())):
        begun = time.monotonic()
        async with running(turns):
            await turns.reach(1)
        assert time.monotonic() - begun < 1
