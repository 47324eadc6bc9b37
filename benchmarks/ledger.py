"""Which facts are on their way, since when, and how long each took to arrive."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from dataclasses import dataclass

import orjson

from benchmarks.client import Wrong


@dataclass(frozen=True, slots=True)
class Page:
    """Of each fact the seconds until it was committed and until it arrived, both from when it was sent; and when events
    came, of one or more facts each."""

    latencies: list[float]
    commits: list[float]
    events: list[float]


class Ledger:
    """A record with a total of n more than the last has the n oldest facts of its class in it."""

    def __init__(self) -> None:
        self._page = Page([], [], [])
        self._totals: dict[str, int] = {}
        self._under_way: defaultdict[str, deque[float]] = defaultdict(deque)
        self._count = 0
        self._settled = asyncio.Event()

    def send(self, class_id: str, now: float) -> None:
        self._under_way[class_id].append(now)
        self._count += 1
        self._settled.clear()

    def hear_event(self, text: bytes, now: float) -> None:
        """An event of a subscription to `classPerformanceUpdated`."""
        event = orjson.loads(text)["payload"]["data"]["classPerformanceUpdated"]
        class_id, total = event["classId"], event["classPerformance"]["totalPoints"]
        before = self._totals.setdefault(class_id, total)
        self._totals[class_id] = total
        self.arrive(class_id, total - before, now)

    def arrive(self, class_id: str, count: int, now: float) -> None:
        waiting = self._under_way[class_id]
        if not 0 <= count <= len(waiting):
            raise Wrong(f"{count} facts of {class_id} arrived, where {len(waiting)} were under way.")
        self._page.latencies.extend(now - waiting.popleft() for _ in range(count))
        self._page.events.append(now)
        self._count -= count
        if not self._count:
            self._settled.set()

    def commit(self, seconds: float) -> None:
        self._page.commits.append(seconds)

    def turn(self) -> Page:
        """What was noted since the last page."""
        page, self._page = self._page, Page([], [], [])
        return page

    async def settle(self, seconds: float) -> None:
        """Until every fact has arrived: none may be lost."""
        try:
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        except TimeoutError:
            raise Wrong(f"{self._count:,} facts did not arrive.") from None
