"""What happened to classes and is not calculated yet: marked by triggers, claimed by whoever calculates.

A mark commits with what happened. Whoever holds the lock of a class's record may take its marks away, before the
statement that calculates begins: that statement then sees all that the marks were about, and marks made later stay.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import OutOfTime

PAGE = 500  # marks looked at, at either end of the queue
MOST_COUNTED = 100_000
MOST_WAITS = 16  # of 10 ms

MARK = text("INSERT INTO class_change (class_id) SELECT unnest(CAST(:ids AS text[]))")

# A class that this does not see yet is marked by whoever makes it. Those that are watched come first.
OPEN = text("""
WITH scopes AS (
    DELETE FROM class_change
    WHERE id IN (SELECT id FROM class_change WHERE class_id IS NULL FOR UPDATE SKIP LOCKED)
    RETURNING school_id, at
),
touched AS (
    SELECT c.id, s.at FROM scopes s JOIN class c ON c.school_id = s.school_id
    UNION ALL
    SELECT c.id, s.at FROM (SELECT min(at) AS at FROM scopes WHERE school_id IS NULL) s JOIN class c ON s.at IS NOT NULL
),
opened AS (
    INSERT INTO class_change (class_id, at)
    SELECT c.id, min(t.at) FROM touched t JOIN class c USING (id) GROUP BY c.id ORDER BY c.status = 'ARCHIVED', c.id
)
SELECT count(*) FROM scopes
""")

# By index for each: of EXISTS, PostgreSQL may make a hash of all classes.
STATE = """
    (SELECT true FROM class c WHERE c.id = m.class_id) AS is_there,
    (SELECT true FROM class_performance p WHERE p.class_id = m.class_id) AS has_record
"""

# From both ends: the oldest, so that none waits for ever; the newest, so that ten thousand classes that were marked at
# night do not stand before the one that somebody is looking at.
LOOK = text(f"""
WITH oldest AS MATERIALIZED (
    SELECT id, class_id FROM class_change WHERE id > :after AND id < :before AND class_id IS NOT NULL
    ORDER BY id LIMIT :page
),
newest AS (
    SELECT id, class_id FROM class_change
    WHERE (SELECT count(*) FROM oldest) = :page AND id > :after AND id < :before AND class_id IS NOT NULL
    ORDER BY id DESC LIMIT :page
)
SELECT m.id, m.class_id, {STATE} FROM (TABLE oldest UNION TABLE newest) AS m ORDER BY m.id
""")

LOOK_AT = text(f"SELECT m.class_id, {STATE} FROM unnest(CAST(:ids AS text[])) AS m (class_id)")

BRIEFLY = text("SET LOCAL lock_timeout = '10ms'")

INSERT_MISSING = text(
    "INSERT INTO class_performance (class_id) SELECT id FROM class c WHERE id = ANY(:ids) "
    "AND NOT EXISTS (SELECT FROM class_performance p WHERE p.class_id = c.id) ORDER BY id ON CONFLICT DO NOTHING"
)

# In order, so that two who recalculate the same classes never deadlock.
LOCK = text("SELECT class_id FROM class_performance WHERE class_id = ANY(:ids) ORDER BY class_id FOR NO KEY UPDATE")

LOCK_FREE = text(
    "SELECT p.class_id FROM unnest(CAST(:ids AS text[])) WITH ORDINALITY AS wanted (id, turn) "
    "JOIN class_performance p ON p.class_id = wanted.id ORDER BY turn LIMIT :most FOR NO KEY UPDATE OF p SKIP LOCKED"
)

# A failure is over if this transaction commits.
TAKE = text("""
WITH taken AS (
    DELETE FROM class_change
    WHERE id IN (SELECT id FROM class_change WHERE class_id = ANY(:ids) FOR UPDATE SKIP LOCKED)
    RETURNING class_id, at
)
SELECT class_id, min(at) AS since FROM taken GROUP BY class_id
""")

# Whether there is such a class is asked once more: it may just have been made, and its mark must stay.
FORGET = text("""
DELETE FROM class_change WHERE id IN (
    SELECT id FROM class_change m WHERE class_id = ANY(:ids) AND NOT EXISTS (SELECT FROM class WHERE id = m.class_id)
    FOR UPDATE OF m SKIP LOCKED
)
""")

# That time alone changes a class is a change like another.
STALE_SINCE = text("""
SELECT c.id AS class_id, least(
    (SELECT min(at) FROM class_change WHERE class_id = c.id),
    (SELECT min(at) FROM class_change WHERE class_id IS NULL AND coalesce(school_id, c.school_id) = c.school_id),
    (SELECT since FROM calculation_failure WHERE class_id = c.id),
    (SELECT next_change_at FROM class_performance WHERE class_id = c.id AND next_change_at <= clock_timestamp())
) AS since
FROM class c WHERE c.id = ANY(:ids)
""")

BACKLOG = text(f"""
SELECT changes.*, records.*, (SELECT count(*) FROM calculation_failure) AS failures
FROM (SELECT count(*) AS changes, min(at) AS oldest_change
      FROM (SELECT at FROM class_change ORDER BY id LIMIT {MOST_COUNTED}) AS c) AS changes,
     (SELECT count(*) AS records, min(at) AS oldest_record
      FROM (SELECT at FROM performance_change ORDER BY id LIMIT {MOST_COUNTED}) AS p) AS records
""")


@dataclass(frozen=True, slots=True)
class Claim:
    """Classes to be calculated in this transaction, each with the oldest of its marks: their records are locked, and
    their marks are gone when it commits."""

    since: Mapping[str, datetime]

    @property
    def class_ids(self) -> list[str]:
        return sorted(self.since)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits to be calculated, and to be told to Redis; counted up to 100,000."""

    changes: int
    oldest_change: datetime | None
    records: int
    oldest_record: datetime | None
    failures: int


async def mark(connection: AsyncConnection, class_ids: Sequence[str]) -> None:
    await connection.execute(MARK, {"ids": sorted(set(class_ids))})


async def open_scopes(connection: AsyncConnection) -> int:
    """Mark each class of the schools that were marked as a whole; how many such marks there were.

    In a transaction of its own: it must not be taken back because one of the classes cannot be calculated.
    """
    return int((await connection.execute(OPEN)).scalar_one())


async def claim(connection: AsyncConnection, classes: int) -> Claim:
    """At most so many classes that are marked, and that nobody else holds. Waits for nobody."""
    after, before = -1, 2**63 - 1
    while True:
        marks = (await connection.execute(LOOK, {"after": after, "before": before, "page": PAGE})).all()
        since = await _take_free(connection, list(_from_both_ends(marks)), classes) if marks else {}
        if since or len(marks) < 2 * PAGE:
            return Claim(since)
        # Somebody holds all of these. Others between them may be free.
        after, before = marks[PAGE - 1].id, marks[-PAGE].id


async def claim_of(connection: AsyncConnection, class_ids: Sequence[str]) -> Claim:
    """Of these classes those that are marked, and that nobody else holds. Waits for nobody."""
    marks = (await connection.execute(LOOK_AT, {"ids": list(class_ids)})).all()
    return Claim(await _take_free(connection, marks, len(class_ids)))


async def claim_all(connection: AsyncConnection, class_ids: Sequence[str]) -> None:
    """These classes, marked or not, as far as they exist. Waits for whoever holds one."""
    parameters = {"ids": list(class_ids)}
    await connection.execute(INSERT_MISSING, parameters)
    await connection.execute(LOCK, parameters)
    await connection.execute(TAKE, parameters)


async def stale_since(connection: AsyncConnection, class_ids: Sequence[str]) -> dict[str, datetime]:
    """Of the classes that are not calculated up to now, since when."""
    rows = await connection.execute(STALE_SINCE, {"ids": list(class_ids)})
    return {row.class_id: row.since for row in rows if row.since is not None}


async def backlog(connection: AsyncConnection) -> Backlog:
    return Backlog(**(await connection.execute(BACKLOG)).mappings().one())


def _from_both_ends(marks: Sequence[Row[Any]]) -> Iterator[Row[Any]]:
    for oldest, newest in zip(marks, reversed(marks), strict=True):
        yield oldest
        yield newest


async def _take_free(connection: AsyncConnection, marks: Sequence[Row[Any]], most: int) -> dict[str, datetime]:
    """The first that are free, with the oldest mark of each."""
    gone = {mark.class_id for mark in marks if not mark.is_there}
    if gone:
        await connection.execute(FORGET, {"ids": list(gone)})
    ids = list(dict.fromkeys(mark.class_id for mark in marks if mark.is_there))
    missing = {mark.class_id for mark in marks if mark.is_there and not mark.has_record}
    await _insert_free(connection, [class_id for class_id in ids if class_id in missing][:most])
    free = (await connection.scalars(LOCK_FREE, {"ids": ids, "most": most})).all()
    taken = await connection.execute(TAKE, {"ids": list(free)})
    return {row.class_id: row.since for row in taken}


async def _insert_free(connection: AsyncConnection, class_ids: Sequence[str]) -> None:
    """Make records, but for those that other transactions are making and may take long about: these are found by
    halving. Where they are many, chance decides who is tried now."""
    parts = [random.sample(class_ids, len(class_ids))] if class_ids else []
    waits = 0
    while parts and waits < MOST_WAITS:
        part = parts.pop()
        try:
            async with connection.begin_nested():
                await connection.execute(BRIEFLY)
                await connection.execute(INSERT_MISSING, {"ids": part})
        except OutOfTime:
            waits += 1
            middle = len(part) // 2
            parts += [part[:middle], part[middle:]] if middle else []
