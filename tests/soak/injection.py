"""Does to the processes and the wires what the plan says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from redis import RedisError

from tests.soak.house import House
from tests.soak.links import Link
from tests.soak.plan import CUT, DELAY, EMPTY, KILL, LOSE, PAUSE, Fault


class Injector:
    def __init__(self, house: House) -> None:
        self._house = house
        self._acts = {
            KILL: self._kill,
            PAUSE: self._pause,
            CUT: self._cut,
            DELAY: self._delay,
            LOSE: self._lose,
            EMPTY: self._empty,
        }

    async def carry_out(self, plan: tuple[Fault, ...]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for fault in plan:
                tasks.create_task(self._suffer(fault))

    async def _suffer(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at)
        note = self._house.evidence.timeline.note
        note(f"{fault.kind} {fault.target}" + (f" ({fault.extent:.2f} s)" if fault.extent else ""))
        await self._acts[fault.kind](fault)
        if fault.seconds:
            note(f"{fault.target} is back")

    async def _kill(self, fault: Fault) -> None:
        async with self._house.trouble(fault.target) as process:
            if process is self._house.valkey:
                await self._age(fault.extent)
            await asyncio.to_thread(process.kill)
            await asyncio.sleep(fault.seconds)
            process.start()

    async def _age(self, seconds: float) -> None:
        """It will come back as it was `seconds` before its end; empty, if that is 0."""
        self._house.valkey.forget()
        if seconds:
            await asyncio.to_thread(self._tell_valkey, "SAVE")
            await asyncio.sleep(seconds)

    async def _empty(self, _: Fault) -> None:
        await asyncio.to_thread(self._tell_valkey, "FLUSHALL")

    def _tell_valkey(self, command: str) -> None:
        # It may have been started just now.
        with contextlib.suppress(RedisError, OSError), self._house.redis() as redis:
            redis.execute_command(command)

    async def _pause(self, fault: Fault) -> None:
        async with self._house.trouble(fault.target) as process:
            await asyncio.to_thread(process.pause)
            await asyncio.sleep(fault.seconds)
            await asyncio.to_thread(process.resume)

    async def _cut(self, fault: Fault) -> None:
        self._house.links[fault.target].cut()

    async def _delay(self, fault: Fault) -> None:
        await self._meanwhile(fault, lambda link: link.delay(fault.extent))

    async def _lose(self, fault: Fault) -> None:
        await self._meanwhile(fault, Link.lose)

    async def _meanwhile(self, fault: Fault, trouble: Callable[[Link], None]) -> None:
        link = self._house.links[fault.target]
        trouble(link)
        await asyncio.sleep(fault.seconds)
        link.heal()
