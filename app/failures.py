"""Classes whose calculation fails: put aside, so that they hold up nobody, and tried again, ever more rarely, until it
succeeds. A new fact brings the next attempt forward.

As for any mark (app.changes), what is known of a failure is touched only while the record of its class is locked.
"""

from __future__ import annotations

from datetime import datetime

import structlog
from psycopg import Error
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app import changes
from app.database import transaction
from app.errors import NotReady, OutOfTime
from app.observability import FAILURES
from app.performance import recalculate_many

log = structlog.get_logger(__name__)

MOST_WITHOUT_RECORD = 200
# Broken connections, a server that starts or stops, too many connections, and who was silent for too long in a
# transaction: all else is about what was asked.
AWAY = ("08", "57P", "53300", "25P03")
SOONEST = "interval '10 seconds'"
LATEST = "interval '1 hour'"
AGAIN = f"clock_timestamp() + least({LATEST}, {SOONEST} * 2 ^ least(attempts, 20))"

PUT_ASIDE = text(f"""
    INSERT INTO calculation_failure AS known (class_id, attempts, error, since, failed_at, retry_at)
    VALUES (:class_id, 1, :error, :since, clock_timestamp(), clock_timestamp() + {SOONEST})
    ON CONFLICT (class_id) DO UPDATE
    SET attempts = known.attempts + 1, error = excluded.error, since = least(known.since, excluded.since),
        failed_at = clock_timestamp(), retry_at = {AGAIN.replace("attempts", "known.attempts")}
""")
HAS_RECORD = "EXISTS (SELECT FROM class_performance p WHERE p.class_id = f.class_id)"
IS_MARKED = f"EXISTS (SELECT FROM class_change c WHERE c.class_id = f.class_id) AND {HAS_RECORD}"
MARKED = text(f"SELECT class_id FROM calculation_failure f WHERE {IS_MARKED}")
BRING_FORWARD = text(f"""
    UPDATE calculation_failure f
    SET since = least(f.since, claimed.since), retry_at = least(f.retry_at, f.failed_at + {SOONEST})
    FROM unnest(CAST(:ids AS text[]), CAST(:since AS timestamptz[])) AS claimed (class_id, since)
    WHERE f.class_id = claimed.class_id
    RETURNING f.class_id
""")
DUE = text("""
    SELECT f.class_id FROM calculation_failure f JOIN class_performance p ON p.class_id = f.class_id
    WHERE f.retry_at <= statement_timestamp() ORDER BY f.retry_at LIMIT 1 FOR NO KEY UPDATE OF p SKIP LOCKED
""")
# A class for which no record can be made has none to lock: it goes back to those who make records.
GIVE_BACK = text(f"""
    WITH due AS (
        UPDATE calculation_failure f SET retry_at = {AGAIN}
        WHERE retry_at <= statement_timestamp() AND NOT {HAS_RECORD}
        RETURNING class_id
    )
    INSERT INTO class_change (class_id) SELECT class_id FROM due
""")
WITHOUT_RECORD = text(f"""
    SELECT DISTINCT m.class_id FROM class_change m JOIN class c ON c.id = m.class_id
    WHERE NOT EXISTS (SELECT FROM class_performance p WHERE p.class_id = m.class_id) LIMIT {MOST_WITHOUT_RECORD}
""")
CHECK_NOW = text("SET CONSTRAINTS ALL IMMEDIATE")  # what fails at the commit fails where it can be noted
FAILED_AGAIN = text(f"""
    UPDATE calculation_failure SET attempts = attempts + 1, error = :error, failed_at = clock_timestamp(),
        retry_at = {AGAIN}
    WHERE class_id = :class_id
""")


async def put_aside(engine: AsyncEngine, class_id: str, error: Exception) -> None:
    """Unless somebody else is about to calculate it, or has."""
    async with transaction(engine) as connection:
        since = (await changes.claim_of(connection, [class_id])).since.get(class_id)
        if since:
            await _put_aside(connection, class_id, error, since)


async def put_aside_without_record(engine: AsyncEngine) -> bool:
    """Those for which no record can be made, so that nothing can be claimed before they are out of the way; whether
    there were any. Each by itself, for this is rare."""
    async with engine.connect() as connection:
        class_ids = list(await connection.scalars(WITHOUT_RECORD))
    return any([await _cannot_be_made(engine, class_id) for class_id in class_ids])


async def _cannot_be_made(engine: AsyncEngine, class_id: str) -> bool:
    try:
        async with transaction(engine) as connection:
            await connection.execute(changes.BRIEFLY)
            await connection.execute(changes.INSERT_MISSING, {"ids": [class_id]})
    except OutOfTime:
        return False  # somebody else is making it
    except Exception as error:
        if is_away(error):
            raise
        async with transaction(engine) as connection:
            taken = (await connection.execute(changes.TAKE, {"ids": [class_id]})).first()
            if taken:
                await _put_aside(connection, class_id, error, taken.since)
        return True
    return False


async def _put_aside(connection: AsyncConnection, class_id: str, error: Exception, since: datetime) -> None:
    await connection.execute(PUT_ASIDE, {"class_id": class_id, "error": kind_of(error), "since": since})
    _tell(class_id, error)


async def take_over(engine: AsyncEngine) -> None:
    """What is marked of classes that were put aside is left to `retry`."""
    async with transaction(engine) as connection:
        marked = list(await connection.scalars(MARKED))
        claim = await changes.claim_of(connection, marked)
        values = {"ids": claim.class_ids, "since": [claim.since[class_id] for class_id in claim.class_ids]}
        known = set(await connection.scalars(BRING_FORWARD, values))
        # Calculated by somebody in this very moment, but maybe without what these marks are about.
        await changes.mark(connection, [class_id for class_id in claim.class_ids if class_id not in known])


async def retry(engine: AsyncEngine, seconds: float) -> bool:
    """Calculate the one that has been due for the longest; whether there was one."""
    async with transaction(engine, seconds=seconds) as connection:
        class_id = (await connection.execute(DUE)).scalar()
        if class_id is None:
            await connection.execute(GIVE_BACK)
            return False
        try:
            async with connection.begin_nested():
                await recalculate_many(connection, [class_id])
                await connection.execute(CHECK_NOW)
        except Exception as error:
            if is_away(error):
                raise
            await connection.execute(FAILED_AGAIN, {"class_id": class_id, "error": kind_of(error)})
            _tell(class_id, error)
    return True


def is_away(error: Exception) -> bool:
    """Whether the database is, so that nothing can be said of what was calculated."""
    state = error.__cause__.sqlstate if isinstance(error.__cause__, Error) else None
    return isinstance(error, NotReady) and (state is None or state.startswith(AWAY))


def kind_of(error: Exception) -> str:
    """The name and SQLSTATE, never the message: it may quote a grade."""
    cause = error.orig if isinstance(error, DBAPIError) else error.__cause__
    found = cause if isinstance(cause, Error) else error
    state = found.sqlstate if isinstance(found, Error) else None
    return f"{type(found).__name__} {state}" if state else type(found).__name__


def _tell(class_id: str, error: Exception) -> None:
    FAILURES.inc()
    log.error("calculation_failed", class_id=class_id, error=kind_of(error))
