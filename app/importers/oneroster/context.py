"""What the rows of a package are about, found once for all of them, in temporary tables beside those of its files."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.calendar import start_of_day
from app.importers.staging import copy_rows

# Schools stored and new, with their time zones.
SCHOOLS = """
    SELECT id, time_zone FROM school
    UNION ALL
    SELECT DISTINCT o.sourcedId, CAST(:time_zone AS text) FROM oneroster_orgs AS o
    WHERE o.live AND o.type = 'school' AND NOT EXISTS (SELECT FROM school AS s WHERE s.id = o.sourcedId)
"""

# Classes stored and new, with their schools.
PLACES = """
    SELECT c.id AS class_id, c.school_id, s.time_zone FROM class AS c JOIN oneroster_school AS s ON s.id = c.school_id
    UNION ALL
    SELECT * FROM (
        SELECT DISTINCT ON (r.sourcedId) r.sourcedId, r.schoolSourcedId, s.time_zone
        FROM oneroster_classes AS r JOIN oneroster_school AS s ON s.id = r.schoolSourcedId
        WHERE NOT r.bad AND NOT EXISTS (SELECT FROM class AS c WHERE c.id = r.sourcedId)
        ORDER BY r.sourcedId, r.index
    ) AS new
"""

# Of a session that is told twice, the newest.
SESSIONS = """
    SELECT * FROM (
        SELECT DISTINCT ON (sourcedId) * FROM oneroster_academicsessions WHERE NOT bad
        ORDER BY sourcedId, dateLastModified DESC, index
    ) AS newest WHERE live
"""

# Line items that results are of, with their classes. An id of the package is that of its own line item.
ITEMS = """
    SELECT DISTINCT ON (id) id, class_id FROM (
        SELECT sourcedId AS id, classSourcedId AS class_id, 0 AS rank FROM oneroster_lineitems WHERE live
        UNION ALL
        SELECT id, class_id, 1 FROM activity WHERE id IN (SELECT lineItemSourcedId FROM oneroster_results)
    ) AS told ORDER BY id, rank, class_id
"""

# Results, with the keys they have here.
OUTCOMES = """
    SELECT r.index, i.class_id, r.lineItemSourcedId AS activity_id, r.studentSourcedId AS student_id, p.school_id,
           r.scoreStatus AS status, d.begins AS at, r.score, r.comment, r.live, r.removed, r.dateLastModified AS time
    FROM oneroster_results AS r
    JOIN oneroster_item AS i ON i.id = r.lineItemSourcedId
    JOIN oneroster_place AS p ON p.class_id = i.class_id
    LEFT JOIN oneroster_day AS d ON d.day = r.scoreDate AND d.time_zone = p.time_zone
    WHERE NOT r.bad
"""

DAYS = """
    SELECT startDate AS day FROM oneroster_academicsessions UNION SELECT endDate FROM oneroster_academicsessions
    UNION SELECT beginDate FROM oneroster_enrollments UNION SELECT endDate FROM oneroster_enrollments
    UNION SELECT assignDate FROM oneroster_lineitems UNION SELECT dueDate + 1 FROM oneroster_lineitems
    UNION SELECT scoreDate FROM oneroster_results
"""
ZONES = "SELECT DISTINCT time_zone FROM oneroster_place"


async def prepare(connection: AsyncConnection, time_zone: str | None) -> None:
    """`time_zone`: that of new schools."""
    await _create(connection, "oneroster_school", SCHOOLS, time_zone=time_zone)
    await _create(connection, "oneroster_place", PLACES)
    await _create(connection, "oneroster_session", SESSIONS)
    await _copy_days(connection)
    await _create(connection, "oneroster_item", ITEMS)
    await _create(connection, "oneroster_outcome", OUTCOMES)


async def _create(connection: AsyncConnection, table: str, query: str, **parameters: str | datetime | None) -> None:
    await connection.execute(text(f"CREATE TEMPORARY TABLE {table} ON COMMIT DROP AS {query}"), parameters)
    await connection.exec_driver_sql(f"ANALYZE {table}")


async def _copy_days(connection: AsyncConnection) -> None:
    """When each day begins at each school: there are few days, however many rows."""
    await connection.exec_driver_sql(
        "CREATE TEMPORARY TABLE oneroster_day (time_zone text, day date, begins timestamptz) ON COMMIT DROP"
    )
    zones = [ZoneInfo(name) for name in await connection.scalars(text(ZONES))]
    days: list[date] = [day for day in await connection.scalars(text(DAYS)) if day is not None]
    rows = ((zone.key, day, start_of_day(day, zone)) for zone in zones for day in days)
    await copy_rows(connection, "oneroster_day", ["text", "date", "timestamptz"], rows)
    await connection.exec_driver_sql("ANALYZE oneroster_day")
