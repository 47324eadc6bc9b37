"""The other load generator: an open loop. Requests come when they come, whether or not the last ones are answered."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from itertools import accumulate, cycle
from random import Random

import uvloop

from benchmarks.client import HOST, OVERDUE, Line, Request, Round, Wrong, round_of

TICK = 0.0002  # the shortest sleep; timers of event loops know only milliseconds
SOON = 0.05  # from the start to the first arrival


def arrive(port: int, requests: Sequence[Request], *, connections: int, rate: float, seconds: float) -> Round:
    """Independent of each other, `rate` a second on average. A latency counts from the moment a request was to be sent,
    so that the wait for a free connection is in it."""
    random = Random(1)
    gaps = (random.expovariate(rate) for _ in range(max(2, round(rate * seconds))))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_arrive(port, requests, connections, list(accumulate(gaps))))


async def _arrive(port: int, requests: Sequence[Request], connections: int, gaps: Sequence[float]) -> Round:
    loop = asyncio.get_running_loop()
    began, used = time.perf_counter() + SOON, time.process_time()
    desk = Desk(requests, [began + gap for gap in gaps])
    for _ in range(connections):
        await loop.create_connection(lambda: Caller(desk), HOST, port)
    threading.Thread(target=desk.wake, args=(loop,), daemon=True).start()
    try:
        async with asyncio.timeout(gaps[-1] + SOON + OVERDUE):
            await desk.done
    finally:
        desk.close()
    return round_of(desk.latencies, time.perf_counter() - began, time.process_time() - used)


class Desk:
    """Who is to be served when, and by which lines."""

    def __init__(self, requests: Sequence[Request], due: Sequence[float]) -> None:
        self._requests = cycle([(request.data, request.mark, request.length) for request in requests])
        self._due = deque(due)
        self._last = due[-1]
        self._left = len(due)
        self._closed = False
        self.lines: list[Caller] = []
        self.idle: list[Caller] = []
        self.latencies: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread of its own: an alarm clock finer than the loop's."""
        sys.setswitchinterval(TICK)
        while not self._closed and (now := time.perf_counter()) < self._last + TICK:
            following = self._due[0] if self._due else self._last
            time.sleep(max(TICK, following - now))
            if not self._closed:
                loop.call_soon_threadsafe(self.serve)

    def serve(self) -> None:
        now = time.perf_counter()
        while self.idle and self._due and self._due[0] <= now:
            self.idle.pop().ask_at(self._due.popleft(), next(self._requests))

    def answered(self, line: Caller, latency: float) -> None:
        self.latencies.append(latency)
        self.idle.append(line)
        self._left -= 1
        if self._left:
            self.serve()
        elif not self.done.done():
            self.done.set_result(None)

    def fail(self, wrong: Wrong) -> None:
        if not self._closed and not self.done.done():
            self.done.set_exception(wrong)

    def close(self) -> None:
        self._closed = True
        for line in self.lines:
            line.close()


class Caller(Line):
    """One connection, with one request under way at the most."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._desk.lines.append(self)
        self._desk.idle.append(self)

    def ask_at(self, due: float, request: tuple[bytes, bytes, int]) -> None:
        self._due = due
        self.ask(*request)

    def answered(self, now: float) -> None:
        self._desk.answered(self, now - self._due)

    def fail(self, wrong: Wrong) -> None:
        self._desk.fail(wrong)
