"""One client's view of the records it watches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from itertools import islice
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from app.auth import Reach
from app.records import Record

AHEAD = 100  # records fetched before the client has taken what there is


class Update(NamedTuple):
    """`record` is None when the class is gone, is not followed any more, or never was."""

    class_id: str
    record: Record | None


class Source(Protocol):
    async def fetch(self, watch: Watch, class_ids: list[str]) -> None:
        """Offer or withdraw each of these classes as it is now. Waits as long as it takes."""

    def aim(self, watch: Watch, reach: Reach) -> None: ...

    def leave(self, watch: Watch) -> None: ...


class Watch:
    """An endless iterator of updates for one task, to be closed after use. Of each class it keeps only the latest
    record, however slowly it is read, and versions only increase.

    `named`: the client asked for these very classes, and is told of those that there are not. `school_id`: of the
    classes in its reach only those of this school. `known`: the latest versions it was given, or had.
    """

    __slots__ = ("_closed", "_news", "_owed", "_source", "_waiter", "_without", "known", "named", "reach", "school_id")

    def __init__(
        self, source: Source, reach: Reach, known: Mapping[str, int], *, named: bool, school_id: str | None = None
    ) -> None:
        self.reach = reach
        self.named = named
        self.school_id = school_id
        self.known = dict(known)
        self._source = source
        self._without: set[str] = set()  # those it knows that there are not, or not for it
        self._news: dict[str, Record | None] = {}
        self._owed: dict[str, None] = {}  # to be fetched when there is room
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    # Told by the hub

    def offer(self, record: Record) -> None:
        """On the hot path: everyone who watches a class is offered the very same record."""
        class_id = record.class_id
        if record.version > self.known.get(class_id, 0) or (self._without and self.lacks(class_id, record.version)):
            if self.school_id is not None and record.school_id != self.school_id:
                return
            self.known[class_id] = record.version
            self._news[class_id] = record
            self._without.discard(class_id)
            if self._waiter is not None:
                self._wake()

    def withdraw(self, class_id: str) -> None:
        """There is none, or not for this client."""
        if class_id not in self._without and (self.named or class_id in self.known):
            self._without.add(class_id)
            self._news[class_id] = None
            self._wake()

    def owe(self, class_ids: Iterable[str]) -> None:
        self._owed.update(dict.fromkeys(class_ids))
        self._wake()

    def note(self, class_id: str, version: int) -> None:
        """Nothing that old is news."""
        self.known[class_id] = max(version, self.known.get(class_id, 0))

    def lacks(self, class_id: str, version: int) -> bool:
        known = self.known.get(class_id, 0)
        return version > known or (version == known and class_id in self._without)

    def covers(self, class_id: str, school_id: str) -> bool:
        return self.school_id in (None, school_id) and self.reach.covers(class_id, school_id)

    # Read by the client

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update:
        while not self._closed:
            if self._owed and len(self._news) < AHEAD:
                await self._fetch()
            elif self._news:
                class_id = next(iter(self._news))
                return Update(class_id, self._news.pop(class_id))
            else:
                await self._wait()
        raise StopAsyncIteration

    def repeat(self, class_ids: Iterable[str]) -> None:
        """Give these again as they are: what was given of them could not be shown."""
        self._without.update(class_ids)
        self.owe(class_ids)

    def aim(self, reach: Reach) -> None:
        """Of one that follows: cover this from now on. What comes in is given, what is left out is withdrawn."""
        if reach != self.reach:
            self._source.aim(self, reach)

    def close(self) -> None:
        """Whoever reads it comes to the end."""
        if not self._closed:
            self._closed = True
            self._source.leave(self)
            self._wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _fetch(self) -> None:
        class_ids = list(islice(self._owed, AHEAD))
        await self._source.fetch(self, class_ids)
        for class_id in class_ids:
            self._owed.pop(class_id, None)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
