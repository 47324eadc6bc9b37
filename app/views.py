"""The window: what a viewer sees of classes as they change. The hub tells of every class; the doorman decides, for each
event, whether it is shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.auth import Action, Doorman, Reach, Viewer
from app.errors import NotReady
from app.ids import is_storable
from app.records import Record
from app.watching import Hub, Update, Watch

RECHECK_SECONDS = 5.0
"""Between looks at what a teacher teaches, who is sent nothing meanwhile."""
PAUSE_SECONDS = 1.0


class Views:
    def __init__(self, doorman: Doorman, hub: Hub) -> None:
        self._doorman = doorman
        self._hub = hub

    async def watch(
        self, viewer: Viewer, class_ids: Sequence[str], known: Mapping[str, int]
    ) -> AsyncGenerator[Update, None]:
        """Each class as it is, unless that is known, and then whenever it changes. Without a record: there is no such
        class, or it is not the viewer's."""
        ids = list(dict.fromkeys(class_ids))
        for class_id in ids:
            if not is_storable(class_id):
                yield Update(class_id, None)
        sight = Sight({class_id: version for class_id, version in known.items() if class_id in ids})
        with self._hub.watch(filter(is_storable, ids)) as watch:
            async with aclosing(self._look(watch, viewer, await self._reach(viewer))) as updates:
                async for update, reach in updates:
                    if update is None:
                        for class_id in sight.lose(reach):
                            yield Update(class_id, None)
                        watch.repeat(sight.regained(reach))
                    elif shown := sight.see(update, reach):
                        yield shown

    async def follow(
        self, viewer: Viewer, school_id: str | None, known: Mapping[str, int], *, snapshot: bool
    ) -> AsyncGenerator[Update, None]:
        """Every class within reach, of the school if one is given. Without a snapshot only `known` classes are told of
        as they are, the others when they change."""
        reach = await self._reach(viewer)
        with self._hub.follow(reach, school_id=school_id, known=known, snapshot=snapshot) as watch:
            async with aclosing(self._look(watch, viewer, reach)) as updates:
                async for update, now in updates:
                    if update is None:
                        watch.aim(now)
                    elif update.record is None or _shows(update.record, now):
                        yield update

    async def _look(
        self, watch: Watch, viewer: Viewer, reach: Reach
    ) -> AsyncGenerator[tuple[Update | None, Reach], None]:
        """Updates, each with the viewer's reach at that moment. None: it is the reach that has changed."""
        if not self._doorman.varies(viewer, Action.READ):
            async for update in watch:
                yield update, reach
            return
        while True:
            try:
                async with asyncio.timeout(RECHECK_SECONDS):
                    found: Update | None = await anext(watch)
            except TimeoutError:
                found = None
            except StopAsyncIteration:
                return
            now = await self._reach(viewer)
            if now != reach:
                reach = now
                yield None, reach
            if found is not None:
                yield found, reach

    async def _reach(self, viewer: Viewer) -> Reach:
        """While the database is away nothing is shown to those whose reach it knows. They wait, and miss nothing."""
        while True:
            try:
                return await self._doorman.reach(viewer, Action.READ)
            except (NotReady, PoolTimeout):
                await asyncio.sleep(PAUSE_SECONDS)


class Sight:
    """What somebody who watches certain classes has been shown of each: a version, or 0 for nothing."""

    def __init__(self, known: Mapping[str, int]) -> None:
        self._shown = dict(known)

    def see(self, update: Update, reach: Reach) -> Update | None:
        """What is to be shown, if that is anything new."""
        class_id, record = update
        shown = self._shown.get(class_id)
        if record is None or not _shows(record, reach):
            self._shown[class_id] = 0
            return Update(class_id, None) if shown != 0 else None
        if shown is not None and record.version <= shown:
            return None
        self._shown[class_id] = record.version
        return update

    def lose(self, reach: Reach) -> list[str]:
        """Classes that were shown and that a teacher, whose reach is of classes, does not teach any more."""
        lost = [class_id for class_id, version in self._shown.items() if version and class_id not in reach.classes]
        self._shown.update(dict.fromkeys(lost, 0))
        return lost

    def regained(self, reach: Reach) -> list[str]:
        return [class_id for class_id, version in self._shown.items() if not version and class_id in reach.classes]


def _shows(record: Record, reach: Reach) -> bool:
    return reach.covers(record.class_id, record.school_id)
