"""Many subscribers in a process of their own, who note when they hear what."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Self

import uvloop

from benchmarks.client import Wrong
from benchmarks.machine import pin
from benchmarks.sockets import NEXT, PATIENCE, Operation, Socket

AT_ONCE = 50  # who come in at the same time


@dataclass(frozen=True, slots=True)
class Heard:
    """When each event came, and the seconds of a core that listening took meanwhile."""

    times: Sequence[float]
    used: float


class Audience:
    """The process, as seen from outside. Two steps, so that nothing is published before everybody listens."""

    def __init__(self, port: int, operations: Sequence[Operation], where: frozenset[int]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=_perform, args=(far, port, list(operations), where), daemon=True)
        self._size = len(operations)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()
        self._pipe.close()

    def wait(self) -> None:
        """Until all are in, or all expect what they were told to."""
        self._receive()

    def expect(self, events: int) -> None:
        """So many for each."""
        self._pipe.send(events * self._size)

    def heard(self) -> Heard:
        answer = self._receive()
        assert isinstance(answer, Heard)
        return answer

    def _receive(self) -> object:
        if not self._pipe.poll(2 * PATIENCE):
            raise Wrong("The subscribers do not answer.")
        answer = self._pipe.recv()
        if isinstance(answer, Wrong):
            raise answer
        return answer


def _perform(pipe: Connection, port: int, operations: Sequence[Operation], where: frozenset[int]) -> None:
    """Ctrl-C reaches the benchmark, which ends this."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pin(0, where)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_listen(pipe, port, operations))
        except (Wrong, OSError) as error:
            pipe.send(Wrong(*error.args))


async def _listen(pipe: Connection, port: int, operations: Sequence[Operation]) -> None:
    ear = _Ear()
    sockets: list[Socket] = []
    for start in range(0, len(operations), AT_ONCE):
        group = operations[start : start + AT_ONCE]
        sockets += await asyncio.gather(*(Socket.subscribe(port, operation, ear.hear) for operation in group))
    pipe.send(None)
    while True:
        count = await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        ear.expect(count)
        used = time.process_time()
        pipe.send(None)
        await ear.wait()
        failed = next((socket.failed for socket in sockets if socket.failed), None)
        pipe.send(failed or Heard(ear.times, time.process_time() - used))


class _Ear:
    """Hears for all. Whatever nobody was told to expect is wrong: an event that came twice, or too late."""

    def __init__(self) -> None:
        self.times = array("d")
        self._left = 0
        self._all: asyncio.Future[None] | None = None
        self._wrong: bytes | None = None

    def expect(self, count: int) -> None:
        self.times, self._left = array("d"), count
        self._all = asyncio.get_running_loop().create_future()

    async def wait(self) -> None:
        assert self._all
        try:
            async with asyncio.timeout(PATIENCE):
                await self._all
        except TimeoutError:
            raise Wrong(f"{self._left:,} events of {self._left + len(self.times):,} did not come.") from None
        if self._wrong:
            raise Wrong(self._wrong[:500])

    def hear(self, text: bytes, now: float) -> None:
        if self._all is None:  # the greeting
            return
        self.times.append(now)
        self._left -= 1
        if NEXT not in text or self._left < 0:
            self._wrong = text
        if self._left == 0:
            self._all.set_result(None)
