"""The outbox: what changed in PostgreSQL is told to Redis."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.cache import Cache
from app.database import transaction
from app.latest import ANY_VERSION, Latest, read_changed
from app.observability import RELAYED

ROWS = 500  # in a transaction
SLICE = 100  # records in a round trip: some 500 kB
REST_SECONDS = 1.0
LOOKS = 3  # at what changes while it is told; others wait meanwhile

CLAIM = text(
    f"SELECT id, class_id FROM performance_change WHERE id > :after ORDER BY id LIMIT {ROWS} FOR UPDATE SKIP LOCKED"
)

DELETE = text("DELETE FROM performance_change WHERE id = ANY(:ids)")


class Relay:
    """Any number may run. What is told twice, or in another order, does no harm: versions decide."""

    def __init__(self, engine: AsyncEngine, cache: Cache) -> None:
        self._engine = engine
        self._cache = cache
        self._after = 0
        self._rest_until = 0.0
        self._unverified: set[str] = set()  # put perhaps, and not looked at again

    async def run_once(self) -> int:
        """The number of changes that were told. 0: there is nothing to tell, or for a while nobody to tell it."""
        if time.monotonic() < self._rest_until:
            return 0
        async with transaction(self._engine) as connection:
            after, self._after = self._after, 0
            changes = (await connection.execute(CLAIM, {"after": after})).all()
            if not changes and not self._unverified:
                if after:
                    self._postpone(0, 0)
                return 0
            if not await self._tell(connection, {change.class_id for change in changes} | self._unverified):
                self._postpone(changes[-1].id if changes else 0, len(changes))
                return 0
            await connection.execute(DELETE, {"ids": [change.id for change in changes]})
        RELAYED.inc(len(changes))
        return len(changes)

    def _postpone(self, last: int, count: int) -> None:
        """A Redis that cannot store still tells who listens: they are not to wait for it, so the others come first."""
        if count == ROWS and not self._cache.is_away:
            self._after = last
        else:
            self._rest_until = time.monotonic() + REST_SECONDS

    async def _tell(self, connection: AsyncConnection, class_ids: set[str]) -> bool:
        """What the records are now: of several changes the last. They are read after the claim, so none is missed; and
        once more after they were put, for then they may be old: whoever told what is newer may have been quicker, and
        Redis have lost it since."""
        if not self._cache.is_configured:
            return True
        self._unverified |= class_ids
        asked = dict.fromkeys(class_ids, ANY_VERSION)
        for _ in range(LOOKS):
            found = await read_changed(connection, asked)
            if not found:
                break
            if not await self._put(found):
                self._unverified &= class_ids if self._cache.is_away else set()
                return False
            asked = {each.class_id: each.version if each.record else 0 for each in found}
        # What changed every time has changes of its own waiting, and is looked at with them.
        self._unverified -= class_ids
        return True

    async def _put(self, found: Sequence[Latest]) -> bool:
        gone = {each.class_id: each.version for each in found if each.record is None and each.version}
        records = [each.record for each in found if each.record is not None]
        slices = [records[start : start + SLICE] for start in range(0, len(records), SLICE)]
        took = [await self._cache.put_many(each, publish=True) for each in slices]
        return all(took) and await self._cache.remove_many(gone, publish=True)
