"""The hub: hears what is published, once for the whole process, and passes it on to everyone who watches here.

Nobody misses anything: who comes is entered first and then given what there is; and whenever publications may have been
lost, PostgreSQL is asked for what is newer than what was heard. Versions decide what is newer, whatever the order in
which one hears of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from itertools import islice

import structlog
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app import latest
from app.auth import Reach
from app.cache import Cache
from app.errors import NotReady
from app.events import Publications
from app.ids import is_storable
from app.news import News
from app.observability import HEARD, LOOKED, WATCHES
from app.performance import Performance
from app.settings import Settings
from app.watches import Update, Watch

__all__ = ["Hub", "Update", "Watch"]

log = structlog.get_logger()

ASKED = 2_000  # classes in a statement
SHARE = 0.2  # of the time, at the most, the database is busy with our questions


class Hub:
    """`start` it within the loop, or those who watch are given what there is and hear of nothing new."""

    def __init__(
        self,
        settings: Settings,
        engine: AsyncEngine,
        cache: Cache,
        performance: Performance,
        publications: Publications,
    ) -> None:
        self._pause = settings.redis_retry_after
        self._engine = engine
        self._cache = cache
        self._performance = performance
        self._publications = publications
        self._news = News()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        # What is to be asked of the database.
        self._doubted: set[str] = set()
        self._newcomers: dict[Watch, bool] = {}
        self._gap = False
        self._ask_at = 0.0
        self._somebody_left = False
        self._called = asyncio.Event()

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._publications.run(self.hear, self._mind_the_gap)),
            asyncio.create_task(self._work()),
        ]

    async def close(self) -> None:
        """Everyone who watches comes to the end."""
        self._closed = True
        for watch in list(self._news.audience.watches):
            watch.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def watch(self, class_ids: Iterable[str], known: Mapping[str, int] | None = None) -> Watch:
        """These classes: what is newer than `known` at once, then what follows; None for those that there are not."""
        ids = dict.fromkeys(class_ids)
        watch = Watch(self, Reach(classes=frozenset(ids)), known or {}, named=True)
        self._enter(watch)
        watch.owe(ids)
        return watch

    def follow(
        self,
        reach: Reach,
        *,
        school_id: str | None = None,
        known: Mapping[str, int] | None = None,
        snapshot: bool = True,
    ) -> Watch:
        """All classes in reach (of one school), as they come and go. Without `snapshot` only of those known what is
        newer, and what happens from now on."""
        watch = Watch(self, _narrow(reach, school_id), known or {}, named=False, school_id=school_id)
        self._enter(watch)
        self._list(watch, snapshot=snapshot)
        return watch

    # Heard

    def hear(self, message: bytes) -> None:
        """Decoded once, and only if somebody here cares."""
        HEARD.inc()
        name, _, value = message.partition(b"\0")
        class_id = name.decode(errors="replace")
        self._performance.forget(class_id)
        try:
            if not self._cache.hear(class_id, value) or not self._news.cares(class_id):
                return
            record = self._cache.decode(class_id, value)
        except (ValueError, TypeError, KeyError):
            self._doubt(class_id)
            return
        if record is None:
            self._news.miss(class_id, int(value))
        else:
            self._news.tell(record)

    def _mind_the_gap(self) -> None:
        self._gap = True
        self._called.set()

    def _doubt(self, class_id: str) -> None:
        """What was read contradicts what was heard, or cannot be read: the database decides."""
        self._doubted.add(class_id)
        self._called.set()

    # For one who watches

    async def fetch(self, watch: Watch, class_ids: list[str]) -> None:
        while True:
            with contextlib.suppress(NotReady, PoolTimeout):
                records = await self._performance.get_many(class_ids)
                break
            await asyncio.sleep(self._pause)
        for class_id, record in zip(class_ids, records, strict=True):
            if not self._news.introduce(watch, class_id, record):
                self._doubt(class_id)

    def aim(self, watch: Watch, reach: Reach) -> None:
        self._news.audience.leave(watch)
        watch.reach = _narrow(reach, watch.school_id)
        self._news.audience.enter(watch)
        self._news.aim(watch)
        self._list(watch, snapshot=True)

    def leave(self, watch: Watch) -> None:
        self._news.audience.leave(watch)
        self._newcomers.pop(watch, None)
        self._somebody_left = True
        WATCHES.dec()

    def _enter(self, watch: Watch) -> None:
        self._news.audience.enter(watch)
        WATCHES.inc()
        if self._closed:
            watch.close()

    def _list(self, watch: Watch, *, snapshot: bool) -> None:
        self._newcomers[watch] = snapshot
        self._called.set()

    # Asked of the database, by one task for all

    async def _work(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._called.wait()
            self._called.clear()
            try:
                await self._catch_up()
            except Exception as error:
                if not isinstance(error, NotReady | PoolTimeout):
                    log.error("hub_failed", error=type(error).__name__)
                self._called.set()
                await asyncio.sleep(self._pause)

    async def _catch_up(self) -> None:
        if self._somebody_left:
            self._somebody_left = False
            self._news.forget_unwatched()
        if self._newcomers:
            await self._list_for_newcomers()
        if self._gap or (not self._publications.connected and time.monotonic() >= self._ask_at):
            await self._ask_for_all()
        elif self._doubted:
            await self._ask({})

    async def _ask_for_all(self) -> None:
        """At once when publications may have been lost; as often as it is cheap while none are heard."""
        began, self._gap = time.monotonic(), False
        try:
            await self._ask(self._news.versions())
            await self._ask_for_others()
        except BaseException:
            self._gap = True
            raise
        now = time.monotonic()
        self._ask_at = now + max(self._pause, (now - began) / SHARE)

    async def _ask(self, versions: dict[str, int]) -> None:
        """For what has another version; and for what is doubted, whatever its version."""
        doubted, self._doubted = self._doubted, set()
        versions |= dict.fromkeys(filter(is_storable, doubted), latest.ANY_VERSION)
        classes = iter(versions.items())
        try:
            while part := dict(islice(classes, ASKED)):
                async with self._asking() as connection:
                    found = await latest.read_changed(connection, part)
                for class_id, version, record in found:
                    if record is not None:
                        self._news.tell(record)
                    else:
                        self._news.miss(class_id, version)
        except BaseException:
            self._doubted |= doubted
            raise

    async def _ask_for_others(self) -> None:
        """For classes that nobody here has heard of, on behalf of those who follow."""
        more = True
        while more and (schools := self._news.audience.schools) != []:
            async with self._asking() as connection:
                records = await latest.read_others(connection, list(self._news.versions()), schools)
            for record in records:
                self._news.tell(record)
            more = len(records) == latest.MOST_NEW

    async def _list_for_newcomers(self) -> None:
        """All entered before the statement begins: what it does not see, they hear."""
        newcomers, self._newcomers = self._newcomers, {}
        try:
            async with self._asking() as connection:
                rows = await latest.list_versions(connection, *_reach_of(newcomers))
        except BaseException:
            self._newcomers = newcomers | self._newcomers
            raise
        for class_id in self._news.list(rows, newcomers):
            self._doubt(class_id)
        covered: dict[object, dict[str, int]] = {}
        for watch, snapshot in newcomers.items():
            place = watch.reach, watch.school_id
            if place not in covered:
                covered[place] = {
                    class_id: version for class_id, school, version in rows if watch.covers(class_id, school)
                }
            self._news.give(watch, covered[place], snapshot=snapshot)
            await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def _asking(self) -> AsyncIterator[AsyncConnection]:
        LOOKED.inc()
        async with self._engine.connect() as connection:
            yield connection


def _narrow(reach: Reach, school_id: str | None) -> Reach:
    """To the classes of a school. Of those taught, the school is looked at when there is a record."""
    if school_id is None:
        return reach
    return Reach(
        schools=frozenset([school_id]) if reach.covers_school(school_id) else frozenset(), classes=reach.classes
    )


def _reach_of(watches: Iterable[Watch]) -> tuple[list[str] | None, list[str]]:
    """Schools, or None for all; and classes."""
    reaches = [watch.reach for watch in watches]
    everywhere = any(reach.everything for reach in reaches)
    schools = None if everywhere else sorted({school_id for reach in reaches for school_id in reach.schools})
    return schools, sorted({class_id for reach in reaches for class_id in reach.classes if is_storable(class_id)})
